//! Days of the calendar, for a line's time: quicker than any general formatting, and without an allocation.

use jiff::Timestamp;
use jiff::tz::Offset;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A point in time as a calendar and a clock show it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millis: u32,
}

impl Instant {
    /// What is before 1970 is its beginning, and what is beyond the year 9999, which has four digits, the end of that.
    pub fn of(time: SystemTime) -> Instant {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let shown = Offset::UTC.to_datetime(Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
        Instant {
            year: low(shown.year()),
            month: low(shown.month()),
            day: low(shown.day()),
            hour: low(shown.hour()),
            minute: low(shown.minute()),
            second: low(shown.second()),
            millis: since.subsec_millis(),
        }
    }

    /// `2026-11-21T19:01:48.123Z` (RFC 3339).
    pub fn rfc3339(self, line: &mut Vec<u8>) {
        digits(line, self.year, 4);
        line.push(b'-');
        digits(line, self.month, 2);
        line.push(b'-');
        digits(line, self.day, 2);
        line.push(b'T');
        self.clock(line);
        line.push(b'.');
        digits(line, self.millis, 3);
        line.push(b'Z');
    }

    /// `21/Nov/2026:19:01:48 +0000` (Apache).
    pub fn apache(self, line: &mut Vec<u8>) {
        digits(line, self.day, 2);
        line.push(b'/');
        line.extend_from_slice(MONTHS[(self.month as usize + 11) % 12]);
        line.push(b'/');
        digits(line, self.year, 4);
        line.push(b':');
        self.clock(line);
        line.extend_from_slice(b" +0000");
    }

    fn clock(self, line: &mut Vec<u8>) {
        digits(line, self.hour, 2);
        line.push(b':');
        digits(line, self.minute, 2);
        line.push(b':');
        digits(line, self.second, 2);
    }
}

fn low(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(0)
}

/// So many of a number's last digits.
fn digits(line: &mut Vec<u8>, number: u32, count: u32) {
    for place in (0..count).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        line.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(seconds: u64, millis: u64) -> (String, String) {
        let instant = Instant::of(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis));
        let (mut rfc3339, mut apache) = (Vec::new(), Vec::new());
        instant.rfc3339(&mut rfc3339);
        instant.apache(&mut apache);
        (String::from_utf8(rfc3339).unwrap(), String::from_utf8(apache).unwrap())
    }

    #[test]
    fn a_day_is_that_of_the_calendar() {
        // One in 100,001 seconds, so that days, hours and leap years come by; beside a calendar that nobody here wrote.
        for step in 0..30_000_u64 {
            let seconds = step * 100_001;
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(texts(seconds, 0).0, humantime::format_rfc3339_millis(time).to_string());
        }
        assert_eq!(texts(951_782_400, 7).0, "2000-02-29T00:00:00.007Z");
    }

    #[test]
    fn apache_names_months() {
        assert_eq!(texts(971_211_336, 0).1, "10/Oct/2000:20:55:36 +0000");
        assert_eq!(texts(0, 0).1, "01/Jan/1970:00:00:00 +0000");
        assert_eq!(texts(u64::MAX / 2000, 0).1, "30/Dec/9999:22:00:00 +0000", "beyond the calendar is its end");
    }
}
