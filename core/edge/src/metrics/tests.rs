use super::*;
use crate::admin::api::Latencies;

#[test]
fn a_family_reads_like_this() {
    let mut samples = Samples::default();
    let mut counts = [0; COUNTS];
    (counts[0], counts[2], counts[COUNTS - 1]) = (3, 1, 2);
    let family = Family {
        name: "lockstep_test_seconds",
        kind: Kind::Histogram,
        labels: &["pair"],
        unit: "seconds",
        help: "How long,\nin \\ all.",
        read: |_, _| {},
    };
    samples.begin(&family);
    samples.histogram(&[("pair", "a \"b\" \\ \n")], &Latencies { counts, sum_ms: 1234.5 });
    let text = samples.into_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "# HELP lockstep_test_seconds How long,\\nin \\\\ all.");
    assert_eq!(lines[1], "# TYPE lockstep_test_seconds histogram");
    assert_eq!(lines[2], "lockstep_test_seconds_bucket{pair=\"a \\\"b\\\" \\\\ \\n\",le=\"0.001\"} 3");
    assert_eq!(lines[4], "lockstep_test_seconds_bucket{pair=\"a \\\"b\\\" \\\\ \\n\",le=\"0.005\"} 4");
    assert_eq!(lines[17], "lockstep_test_seconds_bucket{pair=\"a \\\"b\\\" \\\\ \\n\",le=\"+Inf\"} 6");
    assert_eq!(lines[18], "lockstep_test_seconds_sum{pair=\"a \\\"b\\\" \\\\ \\n\"} 1.2345");
    assert_eq!(lines[19], "lockstep_test_seconds_count{pair=\"a \\\"b\\\" \\\\ \\n\"} 6");
}

#[test]
fn a_family_without_samples_has_no_head() {
    let mut samples = Samples::default();
    samples.begin(&SECTIONS[0].1[0]);
    assert_eq!(samples.into_text(), "");
}
