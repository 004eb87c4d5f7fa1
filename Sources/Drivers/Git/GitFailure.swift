/// Why there are no specs from a repository.
package struct GitFailure: Error, Hashable, Sendable, Codable {
    package enum Cause: String, Hashable, Sendable, Codable {
        /// No connection, or it broke, or this machine could not: another attempt may do.
        case unreachable
        /// The server does not let us in, or is not who it should be.
        case denied
        /// What is asked for is not there, or what is there can't be read.
        case invalid
        /// There is no such commit, or not yet.
        case absent
        /// It is there and is not taken: a signature, a limit, a history that was rewritten.
        case refused
        case timedOut
    }

    package var cause: Cause
    /// What happened, in plain words. It may quote the other side: escape it where it is shown.
    package var message: String
    /// What to do about it; may be empty.
    package var fix: String

    package init(_ cause: Cause, _ message: String, fix: String = "") {
        self.cause = cause
        self.message = message
        self.fix = fix
    }
}
