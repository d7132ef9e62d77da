#!/usr/bin/env bash
# Makes a smaller rendition of a clip whose key frames are 2 s apart, with its own at the same times.
set -euo pipefail
clip=${1:?usage: rung.sh CLIP.mp4 OUT.mp4}
out=${2:?usage: rung.sh CLIP.mp4 OUT.mp4}
ffmpeg -v error -y -i "$clip" -vf scale=320:180 -pix_fmt yuv420p \
  -c:v libx264 -preset fast -profile:v main -b:v 150k -maxrate 150k -bufsize 150k \
  -g 50 -keyint_min 50 -sc_threshold 0 -bf 2 -flags +cgop \
  -c:a aac -b:a 64k -ac 2 -movflags +faststart "$out"
