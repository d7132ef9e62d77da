//! Clips made by ffmpeg once per test run and kept beside the build; each is real coded media.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// One test process makes one clip at a time, each once.
static MAKING: Mutex<()> = Mutex::new(());

const PATTERN: &[&str] = &["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"];
const TONE: &[&str] = &["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
const AAC: &[&str] = &["-c:a", "aac", "-b:a", "64k", "-ac", "2"];

/// 12 s of H.264 with B-frames and AAC; a key frame each second.
pub fn h264() -> PathBuf {
    let video = [
        "-c:v", "libx264", "-preset", "veryfast", "-b:v", "300k", "-bf", "2",
    ];
    make("h264-bframes.mp4", &[PATTERN, TONE, &video, GOP, AAC])
}

/// 20 s of pictures that carry their number, as `tools/clip.sh` draws it, and without B-frames, so that they are
/// shown in the order in which they are coded; a key frame each second.
pub fn numbered(width: u32) -> PathBuf {
    let height = width * 9 / 16;
    let side = width / 16;
    let picture = format!("testsrc2=size={width}x{height}:rate=25");
    let bar = format!(
        "geq=lum='if(lt(Y,{side}),16+219*mod(floor(N/pow(2,floor(X/{side}))),2),lum(X,Y))'\
         :cb='if(lt(Y,{side}/2),128,cb(X,Y))':cr='if(lt(Y,{side}/2),128,cr(X,Y))'"
    );
    let rate = format!("{}k", width * width / 900);
    let video = [
        "-vf", &bar, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-bf", "0",
        "-b:v", &rate,
    ];
    let source = ["-f", "lavfi", "-i", &picture];
    let name = format!("numbered-{width}.mp4");
    make(&name, &[&source, TONE, &video, GOP, AAC, &["-t", "20"]])
}

/// 12 s of H.265 (`hvc1`) and AAC.
pub fn h265() -> PathBuf {
    let video = [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-b:v",
        "300k",
        "-tag:v",
        "hvc1",
    ];
    let keys = [
        "-x265-params",
        "keyint=25:min-keyint=25:scenecut=0:bframes=2:open-gop=0:log-level=error",
    ];
    make("h265.mp4", &[PATTERN, TONE, &video, &keys, AAC])
}

/// 6 s of AV1 and AAC.
pub fn av1() -> PathBuf {
    let video = [
        "-c:v",
        "libsvtav1",
        "-preset",
        "12",
        "-b:v",
        "300k",
        "-g",
        "25",
    ];
    make("av1.mp4", &[PATTERN, TONE, &video, AAC, &["-t", "6"]])
}

/// 6 s of AV1 and Opus.
pub fn opus() -> PathBuf {
    let video = ["-c:v", "libsvtav1", "-preset", "12", "-b:v", "300k"];
    let audio = ["-c:a", "libopus", "-b:a", "64k", "-ac", "2"];
    let six = ["-g", "25", "-t", "6"];
    make("opus.mp4", &[PATTERN, TONE, &video, &audio, &six])
}

/// 12 s of H.264 at 29.97 pictures a second, a key frame every 10 s, and AAC at 44.1 kHz.
pub fn ntsc() -> PathBuf {
    let video = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-b:v",
        "300k",
        "-r",
        "30000/1001",
    ];
    let keys = ["-g", "300", "-keyint_min", "300", "-sc_threshold", "0"];
    let audio = ["-ar", "44100"];
    make("ntsc.mp4", &[PATTERN, TONE, &video, &keys, AAC, &audio])
}

/// 12 s of H.264 twice as wide and high as [`h264`], and AAC.
pub fn larger() -> PathBuf {
    let video = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "400k"];
    let size = ["-vf", "scale=640:360"];
    make("larger.mp4", &[PATTERN, TONE, &size, &video, GOP, AAC])
}

/// 12 s of H.264 and AAC with key frames at these times.
pub fn keys_at(name: &str, times: &str) -> PathBuf {
    let video = ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "300k"];
    let keys = [
        "-g",
        "999",
        "-sc_threshold",
        "0",
        "-force_key_frames",
        times,
    ];
    make(
        &format!("keys-{name}.mp4"),
        &[PATTERN, TONE, &video, &keys, AAC],
    )
}

/// 20 s at about this many kbit/s, video and audio together, a key frame each second.
pub fn at_rate(kbits: u32) -> PathBuf {
    let rate = format!("{}k", kbits - 64);
    let video = [
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "2",
    ];
    let noise = ["-vf", "noise=alls=40:allf=t"];
    let strict = [
        "-b:v", &rate, "-minrate", &rate, "-maxrate", &rate, "-bufsize", &rate,
    ];
    make(
        &format!("rate-{kbits}.mp4"),
        &[
            PATTERN,
            TONE,
            &noise,
            &video,
            &strict,
            GOP,
            AAC,
            &["-t", "20"],
        ],
    )
}

/// Makes a clip unless it is there; 12 s unless the arguments say otherwise.
fn make(name: &str, arguments: &[&[&str]]) -> PathBuf {
    let _one = MAKING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        return path;
    }
    let part = path.with_extension("part.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]);
    for list in arguments {
        ffmpeg.args(*list);
        if *list == TONE {
            ffmpeg.args(["-t", "12"]);
        }
    }
    let run = ffmpeg
        .arg(&part)
        .output()
        .expect("ffmpeg is installed (`make setup`)");
    assert!(
        run.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    std::fs::rename(part, &path).unwrap();
    path
}

const GOP: &[&str] = &[
    "-g",
    "25",
    "-keyint_min",
    "25",
    "-sc_threshold",
    "0",
    "-flags",
    "+cgop",
];
