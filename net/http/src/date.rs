//! Dates of HTTP (RFC 9110 §5.6.7), of SigV4 and of S3's XML, from and to seconds since 1970 (UTC).
//!
//! Invariant: years 1970 to 9999 only; a date outside or a field out of range does not parse. No clock
//! is read here. Any core. Owner: `net/http`.

/// A calendar date and time, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1970..=9999
    pub year: u16,
    /// 1..=12
    pub month: u8,
    /// 1..=31
    pub day: u8,
    /// 0..=23
    pub hour: u8,
    /// 0..=59
    pub minute: u8,
    /// 0..=59
    pub second: u8,
}

const SECONDS_PER_DAY: u64 = 86_400;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
/// The last second of the year 9999.
pub const UNIX_S_MAX: u64 = 253_402_300_799;

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to January 1st of `year`.
fn days_before_year(year: u16) -> u64 {
    let past = u64::from(year) - 1;
    past * 365 + past / 4 - past / 100 + past / 400 - 719_162
}

impl Civil {
    /// From seconds since 1970; later than the year 9999 is clamped to its last second.
    #[must_use]
    pub fn from_unix(unix_s: u64) -> Self {
        let unix_s = unix_s.min(UNIX_S_MAX);
        let (days, clock) = (unix_s / SECONDS_PER_DAY, unix_s % SECONDS_PER_DAY);
        // Years are counted from March 1st, so that a leap day is the last of its year, and months from
        // March repeat 31 30 31 30 31: their starts are (153 m + 2) / 5. 146,097 days are 400 years exactly.
        let since_year_0 = days + 719_468;
        let (era, day_of_era) = (since_year_0 / 146_097, since_year_0 % 146_097);
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months = (5 * day_of_year + 2) / 153;
        let month = if months < 10 { months + 3 } else { months - 9 };
        Self {
            year: (era * 400 + year_of_era + u64::from(month <= 2)) as u16,
            month: month as u8,
            day: (day_of_year - (153 * months + 2) / 5) as u8 + 1,
            hour: (clock / 3600) as u8,
            minute: (clock / 60 % 60) as u8,
            second: (clock % 60) as u8,
        }
    }

    /// Seconds since 1970; `None` when a field is out of its range.
    #[must_use]
    pub fn to_unix(self) -> Option<u64> {
        let in_range = (1970..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_of_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            // A leap second is read as the second before it.
            && self.second <= 60;
        if !in_range {
            return None;
        }
        let months: u64 = (1..self.month).map(|m| u64::from(days_of_month(self.year, m))).sum();
        let days = days_before_year(self.year) + months + u64::from(self.day) - 1;
        let clock =
            u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second.min(59));
        Some(days * SECONDS_PER_DAY + clock)
    }
}

fn put(out: &mut [u8], mut value: u16) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form a server may send.
#[must_use]
pub fn format_http(unix_s: u64) -> [u8; 29] {
    let civil = Civil::from_unix(unix_s);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = (unix_s.min(UNIX_S_MAX) / SECONDS_PER_DAY % 7) as usize;
    out[..3].copy_from_slice(WEEKDAYS[weekday]);
    put(&mut out[5..7], u16::from(civil.day));
    out[8..11].copy_from_slice(MONTHS[usize::from(civil.month) - 1]);
    put(&mut out[12..16], civil.year);
    put(&mut out[17..19], u16::from(civil.hour));
    put(&mut out[20..22], u16::from(civil.minute));
    put(&mut out[23..25], u16::from(civil.second));
    out
}

/// `20130524T000000Z`, SigV4's form.
#[must_use]
pub fn format_basic(unix_s: u64) -> [u8; 16] {
    let civil = Civil::from_unix(unix_s);
    let mut out = *b"19700101T000000Z";
    put(&mut out[..4], civil.year);
    put(&mut out[4..6], u16::from(civil.month));
    put(&mut out[6..8], u16::from(civil.day));
    put(&mut out[9..11], u16::from(civil.hour));
    put(&mut out[11..13], u16::from(civil.minute));
    put(&mut out[13..15], u16::from(civil.second));
    out
}

/// `2009-10-12T17:50:30.000Z` from milliseconds since 1970, the form of S3's XML.
#[must_use]
pub fn format_iso_ms(unix_ms: u64) -> [u8; 24] {
    let civil = Civil::from_unix(unix_ms / 1000);
    let mut out = *b"1970-01-01T00:00:00.000Z";
    put(&mut out[..4], civil.year);
    put(&mut out[5..7], u16::from(civil.month));
    put(&mut out[8..10], u16::from(civil.day));
    put(&mut out[11..13], u16::from(civil.hour));
    put(&mut out[14..16], u16::from(civil.minute));
    put(&mut out[17..19], u16::from(civil.second));
    put(&mut out[20..23], (unix_ms % 1000) as u16);
    out
}

fn number<T: TryFrom<u32>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u32, |sum, &digit| sum * 10 + u32::from(digit - b'0'));
    T::try_from(value).ok()
}

fn month(name: &[u8]) -> Option<u8> {
    MONTHS.iter().position(|month| name == *month).map(|index| index as u8 + 1)
}

fn clock(text: &[u8]) -> Option<(u8, u8, u8)> {
    if text.len() != 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    Some((number(&text[..2])?, number(&text[3..5])?, number(&text[6..])?))
}

/// Any of the three forms a recipient must read: IMF-fixdate, RFC 850, asctime. Seconds since 1970.
/// Two-digit years below 70 belong to this century. The weekday is not compared with the date.
#[must_use]
pub fn parse_http(text: &[u8]) -> Option<u64> {
    let mut words = text.trim_ascii().split(|&b| b == b' ').filter(|word| !word.is_empty());
    let weekday = words.next()?;
    let rest: [&[u8]; 4] = [words.next()?, words.next()?, words.next()?, words.next().unwrap_or(b"")];
    let last = words.next();
    if words.next().is_some() {
        return None;
    }
    let (day, month_name, year, time): (&[u8], &[u8], u16, &[u8]) = if !weekday.ends_with(b",") {
        // Sun Nov  6 08:49:37 1994
        (rest[1], rest[0], number(rest[3])?, rest[2])
    } else if rest[0].contains(&b'-') {
        // Sunday, 06-Nov-94 08:49:37 GMT
        let mut parts = rest[0].split(|&b| b == b'-');
        let (day, month_name, year) = (parts.next()?, parts.next()?, number::<u16>(parts.next()?)?);
        if rest[2] != b"GMT" || !rest[3].is_empty() || parts.next().is_some() || year > 99 {
            return None;
        }
        (day, month_name, if year < 70 { 2000 + year } else { 1900 + year }, rest[1])
    } else {
        // Sun, 06 Nov 1994 08:49:37 GMT
        if last != Some(b"GMT") {
            return None;
        }
        (rest[0], rest[1], number(rest[2])?, rest[3])
    };
    let (hour, minute, second) = clock(time)?;
    Civil { year, month: month(month_name)?, day: number(day)?, hour, minute, second }.to_unix()
}

/// `20130524T000000Z`. Seconds since 1970.
#[must_use]
pub fn parse_basic(text: &[u8]) -> Option<u64> {
    if text.len() != 16 || text[8] != b'T' || text[15] != b'Z' {
        return None;
    }
    let civil = Civil {
        year: number(&text[..4])?,
        month: number(&text[4..6])?,
        day: number(&text[6..8])?,
        hour: number(&text[9..11])?,
        minute: number(&text[11..13])?,
        second: number(&text[13..15])?,
    };
    civil.to_unix()
}

/// `2009-10-12T17:50:30Z`, with or without a fraction of a second. Seconds since 1970.
#[must_use]
pub fn parse_iso(text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"Z")?;
    let (date, time) = (text.get(..10)?, text.get(11..19)?);
    let fraction = &text[19..];
    let fraction_is_good = fraction.is_empty()
        || (fraction.len() > 1 && fraction[0] == b'.' && fraction[1..].iter().all(u8::is_ascii_digit));
    if date[4] != b'-' || date[7] != b'-' || text[10] != b'T' || !fraction_is_good {
        return None;
    }
    let (hour, minute, second) = clock(time)?;
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    Civil { year, month, day, hour, minute, second }.to_unix()
}

/// The Date header of one core, formatted once per second.
#[derive(Clone, Copy, Debug)]
pub struct DateCache {
    unix_s: u64,
    text: [u8; 29],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { unix_s: 0, text: format_http(0) }
    }
}

impl DateCache {
    /// The header's value at `unix_s`.
    pub fn at(&mut self, unix_s: u64) -> &[u8; 29] {
        if self.unix_s != unix_s {
            *self = Self { unix_s, text: format_http(unix_s) };
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: u64 = 784_111_777;

    #[test]
    fn the_three_forms_of_rfc_9110() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse_http(text.as_bytes()), Some(EXAMPLE), "{text}");
        }
        assert_eq!(&format_http(EXAMPLE), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn nonsense_does_not_parse() {
        for text in [
            "",
            "Sun",
            "Sun, 31 Feb 2024 00:00:00 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
        ] {
            assert_eq!(parse_http(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_basic(b"20130524T000060"), None);
        assert_eq!(parse_basic(b"20130229T000000Z"), None);
        assert_eq!(parse_iso(b"2009-10-12T17:50:30.Z"), None);
    }

    #[test]
    fn known_points() {
        assert_eq!(parse_basic(b"20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(&format_basic(1_369_353_600), b"20130524T000000Z");
        assert_eq!(&format_iso_ms(1_255_369_830_007), b"2009-10-12T17:50:30.007Z");
        assert_eq!(parse_iso(b"2009-10-12T17:50:30.000Z"), Some(1_255_369_830));
        assert_eq!(&format_http(UNIX_S_MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&format_http(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }

    proptest! {
        #[test]
        fn round_trip(unix_s in 0..=UNIX_S_MAX) {
            prop_assert_eq!(parse_http(&format_http(unix_s)), Some(unix_s));
            prop_assert_eq!(parse_basic(&format_basic(unix_s)), Some(unix_s));
            prop_assert_eq!(parse_iso(&format_iso_ms(unix_s * 1000)), Some(unix_s));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_http(&bytes), parse_basic(&bytes), parse_iso(&bytes));
        }
    }
}
