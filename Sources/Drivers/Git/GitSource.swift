package import SpecSources

/// Specs in a git repository.
package struct GitLocation: Hashable, Sendable {
    /// `https://`, `ssh://`, `git@host:path`, `file://`, `git://`, `http://`.
    package var url: String
    /// A branch, a tag or a commit; nil: the remote's HEAD.
    package var revision: String?
    /// The folder or file inside the repository; nil: all of it.
    package var path: String?

    package init(url: String, revision: String? = nil, path: String? = nil) {
        self.url = url
        self.revision = revision
        self.path = path
    }

    /// Whether a source that a person gave is a repository and no folder or file.
    package static func isURL(_ source: String) -> Bool {
        if source.contains("://") { return true }
        // `user@host:path`, as scp has it; a slash before the colon makes it a path.
        guard let colon = source.firstIndex(of: ":") else { return false }
        let head = source[..<colon]
        return head.contains("@") && !head.contains("/")
    }
}

/// The specs of one commit.
package struct GitTree: Sendable {
    /// 40 hexadecimal digits.
    package var commit: String
    /// `refs/heads/main`; nil where a commit was asked for.
    package var ref: String?
    package var files: [SourceFile]
    /// What a person should know: the branch was force-pushed, for one.
    package var notes: [String]

    package init(commit: String, ref: String? = nil, files: [SourceFile], notes: [String] = []) {
        self.commit = commit
        self.ref = ref
        self.files = files
        self.notes = notes
    }
}
