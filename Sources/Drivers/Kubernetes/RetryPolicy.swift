import Foundation

/// Whether and when a request is sent again. A value: the clock, the deadline and chance come in as arguments.
struct RetryPolicy: Sendable {
    var attempts = 6
    /// Where no connection came about there is little to wait for: whoever plans wants to hear of it soon.
    var connectionAttempts = 3
    var firstDelay: Duration = .milliseconds(200)
    var longestDelay: Duration = .seconds(5)
    /// What a server may ask for; beyond that it is asked again early.
    var longestRequestedDelay: Duration = .seconds(30)

    enum Outcome: Hashable, Sendable {
        /// The server is there and asks for patience (429, 503).
        case overloaded(requested: Duration?)
        /// The request did not leave this machine.
        case notSent
        /// It may have been carried out, and its answer lost.
        case lost
    }

    /// - Parameters:
    ///   - attempt: counts from 1.
    ///   - chance: from 0 to 1.
    /// - Returns: how long to wait; nil: give up.
    func delay(after outcome: Outcome, attempt: Int, isRepeatable: Bool, chance: Double) -> Duration? {
        let backoff = min(longestDelay, firstDelay * (1 << min(attempt - 1, 16)))
        // Never earlier than asked for, and not all at the same time.
        func spread(_ delay: Duration) -> Duration { delay + delay * (0.25 * chance) }
        switch outcome {
        case .overloaded(let requested):
            guard attempt < attempts, isRepeatable || requested != nil else { return nil }
            return spread(max(min(requested ?? .zero, longestRequestedDelay), backoff))
        case .notSent:
            return attempt < connectionAttempts ? spread(backoff) : nil
        case .lost:
            return attempt < connectionAttempts && isRepeatable ? spread(backoff) : nil
        }
    }

    /// Reads `Retry-After`: seconds, or a date as HTTP has it.
    static func requestedDelay(_ header: String?, now: Date) -> Duration? {
        guard let text = header?.trimmingCharacters(in: .whitespaces), !text.isEmpty else { return nil }
        if let seconds = Int64(text) { return .seconds(max(0, min(seconds, 86_400))) }
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
        guard let date = format.date(from: text) else { return nil }
        return .milliseconds(Int64(max(0, min(date.timeIntervalSince(now), 86_400)) * 1000))
    }
}
