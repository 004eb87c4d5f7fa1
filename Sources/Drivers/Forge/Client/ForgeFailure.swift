/// Why a forge was not told, or did not answer. A value that can be logged, counted and shown: no token is in it, and what the forge wrote is escaped.
package struct ForgeFailure: Error, Hashable, Sendable {
    package enum Cause: String, Hashable, Sendable, CaseIterable {
        /// No token, or one that is wrong or has expired.
        case unauthorized
        /// The token is not allowed to.
        case forbidden
        /// Nothing of this name, or nothing that the token may see.
        case notFound
        /// What was asked for can't be done, however often it is tried.
        case invalid
        /// Asked for too much; `retryAfter` says when it may be tried again.
        case rateLimited
        /// Not reached, too slow, or broken.
        case unavailable
    }

    package var cause: Cause
    package var message: String
    /// What a person can do about it; nil: wait.
    package var fix: String?
    /// Not before this time from now on.
    package var retryAfter: Duration?

    package init(_ cause: Cause, _ message: String, fix: String? = nil, retryAfter: Duration? = nil) {
        self.cause = cause
        self.message = message
        self.fix = fix
        self.retryAfter = retryAfter
    }

    /// Whether another attempt, later, may do better without anybody's help.
    package var isPassing: Bool { cause == .rateLimited || cause == .unavailable }

    package var description: String { fix.map { "\(message). \($0)" } ?? message }
}
