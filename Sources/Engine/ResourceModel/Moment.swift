/// A point in time by the wall clock, in milliseconds since 1970 (UTC). The engine never asks what time it is: it is told.
package struct Moment: Hashable, Comparable, Sendable {
    package var milliseconds: Int64

    package init(milliseconds: Int64) { self.milliseconds = milliseconds }

    package static func < (a: Self, b: Self) -> Bool { a.milliseconds < b.milliseconds }

    package static func + (moment: Self, duration: Duration) -> Self { Self(milliseconds: moment.milliseconds + duration.wholeMilliseconds) }

    /// Negative where the clock was set back in between.
    package static func - (a: Self, b: Self) -> Duration { .milliseconds(a.milliseconds - b.milliseconds) }
}

extension Moment: Codable {
    package init(from decoder: any Decoder) throws { milliseconds = try decoder.singleValueContainer().decode(Int64.self) }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(milliseconds)
    }
}

extension Moment: CustomStringConvertible {
    /// `2026-08-01 10:21:05 UTC`.
    package var description: String {
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        func floor(_ number: Int64, _ divisor: Int64) -> Int64 { (number - (number % divisor + divisor) % divisor) / divisor }
        let seconds = floor(milliseconds, 1000)
        let days = floor(seconds, 86_400)
        let rest = seconds - days * 86_400
        // Gregorian calendar in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
        let shifted = days + 719_468
        let era = floor(shifted, 146_097)
        let day = shifted - era * 146_097
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let date = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let civilYear = year + era * 400 + (civilMonth <= 2 ? 1 : 0)
        return "\(civilYear)-\(two(civilMonth))-\(two(date)) \(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60)) UTC"
    }
}

extension Duration {
    package var wholeMilliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
