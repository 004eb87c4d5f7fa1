/// Why there is no connection, or why one ended.
package struct SSHFailure: Error, Hashable, Sendable {
    package enum Cause: Hashable, Sendable {
        /// No connection, or no answer in time.
        case unreachable
        /// No trust in its key, or it lets us not in.
        case denied
        /// It answered something that can't be understood.
        case unknown
    }

    package var cause: Cause
    /// What happened, why, and what to do, in plain words.
    package var message: String
    /// The server closed a connection on which we had not said anything yet: what sshd does when too many knock at once (MaxStartups).
    var isTurnedAway = false
    /// The connection was there before and is gone, so another one may do.
    package var isLost = false

    package init(_ cause: Cause, _ message: String) {
        self.cause = cause
        self.message = message
    }

    package static func lost(_ message: String) -> SSHFailure {
        var failure = SSHFailure(.unreachable, message)
        failure.isLost = true
        return failure
    }
}

extension SSHFailure {
    /// With what else may be the reason.
    func adding(_ hints: [String]) -> SSHFailure {
        var failure = self
        if !hints.isEmpty { failure.message += ". The ssh configuration: \(hints.joined(separator: "; "))" }
        return failure
    }
}

extension Duration {
    /// `15 s`, `1.5 s`, `250 ms`.
    package var inWords: String {
        let milliseconds = components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
        if milliseconds < 1000 { return "\(milliseconds) ms" }
        let tenths = milliseconds % 1000 / 100
        return tenths == 0 ? "\(milliseconds / 1000) s" : "\(milliseconds / 1000).\(tenths) s"
    }
}

extension StringProtocol {
    /// Text from the other side for a message: on one line, without control characters, cut.
    package func quotable(limit: Int = 160) -> String {
        var result = ""
        var count = 0
        var pendingSpace = false
        for scalar in unicodeScalars {
            if scalar.properties.isWhitespace || scalar.properties.generalCategory == .control {
                pendingSpace = !result.isEmpty
                continue
            }
            if pendingSpace {
                result.append(" ")
                pendingSpace = false
            }
            result.unicodeScalars.append(scalar)
            count += 1
            if count == limit { return result + "…" }
        }
        return result
    }
}
