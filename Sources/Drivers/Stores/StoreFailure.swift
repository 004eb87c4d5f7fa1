/// Why something can't be kept, or can't be read back.
package struct StoreFailure: Error, Hashable, Sendable {
    /// What is so, with the path that it is about.
    package var message: String
    /// What to do about it.
    package var fix: String

    package init(_ message: String, fix: String) {
        self.message = message
        self.fix = fix
    }
}
