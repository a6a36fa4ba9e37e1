use super::*;
use lockstep_policy::{Epoch, Side};
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const ENDED: SystemTime = UNIX_EPOCH;

fn request(path: &[u8]) -> Entry<'_> {
    Entry {
        ended: ENDED + Duration::from_millis(1_000_000_001_234),
        total: Duration::from_micros(1_234_567),
        client: Some("[::ffff:10.0.0.7]:4711".parse().unwrap()),
        listener: Some("[2001:db8::1]:443".parse().unwrap()),
        protocol: "HTTP/1.1",
        request: Some(Request { method: "GET", path, referer: b"", user_agent: b"curl/8" }),
        status: Some(200),
        received: 0,
        sent: 5,
        pair: "phones",
        side: Some(Side::B),
        epoch: Some(Epoch(7)),
        by_edge: false,
        hold: Duration::from_millis(300),
        first_byte: Some(Duration::from_micros(999)),
        attempts: 2,
        trace: Some(Id::Given(b"0af7651916cd43dd8448eb211c80319c")),
        request_id: Some(Id::Made(0xab)),
        why: None,
    }
}

fn text(entry: &Entry<'_>, format: Format) -> String {
    String::from_utf8(entry.line(format)).unwrap()
}

#[test]
fn a_json_line_reads_like_this() {
    assert_eq!(
        text(&request(b"/a?b=c"), Format::Json),
        "{\"time\":\"2001-09-09T01:46:39.999Z\",\"client\":\"10.0.0.7:4711\",\"listener\":\"[2001:db8::1]:443\",\
         \"protocol\":\"HTTP/1.1\",\"method\":\"GET\",\"path\":\"/a?b=c\",\"user_agent\":\"curl/8\",\"status\":200,\
         \"bytes_in\":0,\"bytes_out\":5,\"pair\":\"phones\",\"side\":\"b\",\"epoch\":7,\"by\":\"side\",\"hold_ms\":300.000,\
         \"first_byte_ms\":0.999,\"ms\":1234.567,\"attempts\":2,\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\
         \"request_id\":\"000000000000000000000000000000ab\"}\n"
    );
}

#[test]
fn a_combined_line_reads_like_this() {
    assert_eq!(
        text(&request(b"/a?b=c"), Format::Combined),
        "10.0.0.7 - - [09/Sep/2001:01:46:39 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 \"-\" \"curl/8\" pair=phones side=b epoch=7 \
         hold_ms=300.000 ms=1234.567 retries=1\n"
    );
}

#[test]
fn a_stream_and_what_failed_have_lines_too() {
    let why = "no side of the pair became \"ready\" in time";
    let stream = Entry {
        request: None,
        status: None,
        protocol: "tcp",
        why: Some(&why),
        side: None,
        epoch: None,
        ..request(b"")
    };
    let line: Value = serde_json::from_str(&text(&stream, Format::Json)).unwrap();
    assert_eq!((&line["protocol"], &line["why"]), (&"tcp".into(), &why.into()));
    assert!(line.get("method").is_none() && line.get("side").is_none() && line.get("by").is_none(), "{line}");
    let line = text(&Entry { sent: 0, ..stream }, Format::Combined);
    assert!(line.contains("] \"-\" - - \"-\" \"-\" pair=phones side=- epoch=- hold_ms="), "{line}");
}

/// Whatever a client sends: one line, its fields where they belong, and nothing that a terminal obeys.
#[test]
fn nobody_injects_anything() {
    let odd: [&[u8]; 9] = [
        b"/\r\n10.0.0.1 - - forged",
        b"/\" 200 5 \"forged",
        b"/\x1b[2J\x07\x00\x7f",
        b"/\\\",\"status\":500,\"x\":\"",
        b"/\xff\xfe\xc3\x28",
        "/\u{9b}31m\u{2028}\u{202e}\u{85}".as_bytes(),
        "/gr\u{fc}n".as_bytes(),
        b"/\\u000a",
        b"",
    ];
    for value in odd {
        let mut entry = request(value);
        entry.request = Some(Request { method: "GET", path: value, referer: value, user_agent: value });
        for format in [Format::Json, Format::Combined] {
            let line = text(&entry, format);
            let body = line.strip_suffix('\n').unwrap();
            assert!(!body.contains(|c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
            if format == Format::Json {
                let read: Value = serde_json::from_str(body).unwrap();
                assert_eq!(read["status"], 200, "{line}");
                if let Ok(valid) = std::str::from_utf8(value) {
                    assert_eq!(read["path"], valid);
                }
            } else {
                // Six quotes are the line's own; no other is bare.
                let bare = body.replace("\\\\", "").replace("\\\"", "");
                assert_eq!(bare.matches('"').count(), 6, "{line}");
            }
        }
    }
}

#[test]
fn bytes_at_random_never_break_a_line() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let value: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
        let line = text(&request(&value), Format::Json);
        assert_eq!(line.matches('\n').count(), 1, "{value:?}");
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(text(&request(&value), Format::Combined).matches('\n').count(), 1, "{value:?}");
    }
}

#[test]
fn what_a_client_sends_is_bounded() {
    let long = vec![b'a'; 60_000];
    let line = text(&request(&long), Format::Json);
    assert!(line.len() < 6_000 && line.contains("aaa...\""), "{}", line.len());
}

fn settings(path: &Path) -> Settings {
    Settings { to: To::File(path.to_owned()), format: Format::Json }
}

fn read(path: &Path) -> Vec<String> {
    let mut text = String::new();
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned()).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn lines_are_in_the_file_within_a_second_and_all_of_them_at_the_end() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("access.log");
    let log = AccessLog::open(&settings(&file)).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o137, 0, "others cannot read it");
    log.put(&request(b"/first"));
    eventually("the line is written", || read(&file) == ["/first"]);
    (0..1_000).for_each(|number| log.put(&request(format!("/{number}").as_bytes())));
    log.close().await;
    assert_eq!(read(&file).len(), 1_001);
    assert_eq!(read(&file)[1_000], "/999", "in order");
    assert_eq!(log.counts(), Counts { written: 1_001, lost: 0 });
    log.put(&request(b"/late"));
    assert_eq!(log.counts(), Counts { written: 1_001, lost: 1 }, "after the end all are lost, and counted");
}

#[tokio::test]
async fn a_renamed_file_is_left_for_a_new_one() {
    let directory = TempDir::new().unwrap();
    let (file, former) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let log = AccessLog::open(&settings(&file)).unwrap();
    log.put(&request(b"/former"));
    std::fs::rename(&file, &former).unwrap();
    // Nobody says so: it is noticed.
    eventually("there is a new file", || file.exists());
    log.put(&request(b"/new"));
    std::fs::remove_file(&former).unwrap_or_else(|error| panic!("{error}"));
    std::fs::rename(&file, &former).unwrap();
    log.reopen();
    eventually("there is another one", || file.exists());
    log.put(&request(b"/newest"));
    log.close().await;
    assert_eq!((read(&former), read(&file)), (vec!["/new".to_owned()], vec!["/newest".to_owned()]));
    assert_eq!(log.counts(), Counts { written: 3, lost: 0 });
}

#[tokio::test]
async fn a_full_disk_loses_lines_and_counts_them() {
    let log = AccessLog::open(&settings(Path::new("/dev/full"))).unwrap();
    let line = request(b"/").line(Format::Json).len() as u64;
    let put = 3 * (256 << 10) / line;
    (0..put).for_each(|_| log.put(&request(b"/")));
    eventually("lines are lost", || log.counts().lost > 0);
    log.close().await;
    assert_eq!(log.counts(), Counts { written: 0, lost: put });
}

#[test]
fn a_disk_that_hangs_keeps_nobody_waiting() {
    // Nobody takes jobs out of this queue.
    let (jobs, _inbox) = sync_channel(10);
    let log = AccessLog { format: Format::Json, jobs, state: Arc::default() };
    (0..15).for_each(|_| log.put(&request(b"/")));
    assert_eq!(log.counts().lost, 5);
    let (jobs, _inbox) = sync_channel(QUEUE);
    let log = AccessLog { format: Format::Json, jobs, state: Arc::default() };
    let long = vec![b'a'; 4_000];
    (0..QUEUE).for_each(|_| log.put(&request(&long)));
    let queued = log.state.queued.load(Relaxed);
    assert!(queued <= QUEUE_BYTES && log.counts().lost > 0, "{queued}");
}

#[test]
fn what_cannot_be_opened_is_said() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("no/such/directory/access.log");
    assert_eq!(AccessLog::open(&settings(&missing)).unwrap_err().kind(), io::ErrorKind::NotFound);
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(AccessLog::open(&settings(&pipe)).unwrap_err().to_string().contains("it is a pipe"));
}
