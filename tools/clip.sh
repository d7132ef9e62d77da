#!/usr/bin/env bash
# Makes the test clip: 20 s of a moving pattern with a tone, 640x360 at 25 frames/s, H.264 with B-frames and AAC.
# Key frames are 2 s apart: players that start three segments before the end need six seconds there.
# The top of each picture carries its frame number: 16 squares, black 0, white 1, lowest bit left.
set -euo pipefail
out=${1:?usage: clip.sh OUT.mp4 [SECONDS] [KBIT_PER_S]}
seconds=${2:-20}
kbits=${3:-450}
bar="lum='if(lt(Y,40),16+219*mod(floor(N/pow(2,floor(X/40))),2),lum(X,Y))':cb='if(lt(Y,20),128,cb(X,Y))':cr='if(lt(Y,20),128,cr(X,Y))'"
ffmpeg -v error -y \
  -f lavfi -i "testsrc2=size=640x360:rate=25" \
  -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=44100" \
  -t "$seconds" -vf "geq=$bar" -pix_fmt yuv420p \
  -c:v libx264 -preset fast -profile:v high -b:v "${kbits}k" -maxrate "${kbits}k" -bufsize "${kbits}k" \
  -g 50 -keyint_min 50 -sc_threshold 0 -bf 2 -flags +cgop \
  -c:a aac -b:a 64k -ac 2 -movflags +faststart "$out"
