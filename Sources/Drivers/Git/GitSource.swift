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

    /// What a person gave: a URL, or `URL//PATH` as plans record it.
    ///
    /// - Throws: where there are two paths.
    package init(source: String, revision: String? = nil, path: String? = nil) throws(GitFailure) {
        self.init(url: source, revision: revision, path: path)
        let start = source.ranges(of: "://").first?.upperBound ?? source.startIndex
        // `file:///srv/a.git` has no host before its first slash; what counts comes after.
        let rest = source[start...].drop { $0 == "/" }
        guard let mark = rest.ranges(of: "//").first else { return }
        guard path == nil else {
            throw GitFailure(
                .invalid,
                "'\(GitURL.redacted(source))' has a path after '//', and there is --path '\(path ?? "")'",
                fix: "Give one of them."
            )
        }
        url = String(source[..<mark.lowerBound])
        self.path = String(source[mark.upperBound...])
    }

    /// Without credentials: for messages, plans and the journal. `GitLocation(source:)` takes it.
    package var shown: String {
        let path = (try? folder) ?? ""
        return GitURL.redacted(url) + (path.isEmpty ? "" : "//\(path)")
    }

    /// A source that a person gave, without credentials.
    package static func shown(_ source: String) -> String { (try? GitLocation(source: source))?.shown ?? GitURL.redacted(source) }

    /// The path without slashes at its ends; empty: all of the repository.
    package var folder: String {
        get throws(GitFailure) {
            let parts = (path ?? "").split(separator: "/").filter { $0 != "." }
            let folder = parts.joined(separator: "/")
            guard !parts.contains(".."), folder.utf8.count <= 4096, folder.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
                throw GitFailure(
                    .invalid,
                    "'\(path ?? "")' is no path inside a repository",
                    fix: "Give it from the top of the repository: --path state."
                )
            }
            return folder
        }
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

/// Whose signatures a commit, or the tag that names it, has to have.
package struct GitVerification: Hashable, Sendable {
    /// A file of this machine in the format of OpenSSH's ALLOWED SIGNERS.
    package var allowedSigners: String

    package init(allowedSigners: String) { self.allowedSigners = allowedSigners }
}

package enum GitReading: Sendable {
    /// The commit is the one that is known, or the announced one is not there yet; this is what is there.
    case unchanged(commit: String)
    case read(GitTree)
}

/// How the specs of a commit were brought together with those of another one.
package enum GitJoin: String, Hashable, Sendable, Codable {
    /// The commit has the other one in its history.
    case contained
    /// What a merge of both would make.
    case merged
    /// Both have changed the same; these are those of the commit alone.
    case conflicting
    /// They have nothing in common, or the other one is not known; these are those of the commit alone.
    case unrelated
}

/// The specs of one commit.
package struct GitTree: Sendable {
    /// 40 hexadecimal digits.
    package var commit: String
    /// `refs/heads/main`; nil where a commit was asked for.
    package var ref: String?
    package var files: [SourceFile]
    /// What can't be read of it. One is enough to apply nothing.
    package var problems: [SourceProblem]
    /// What a person should know: the branch was force-pushed, for one.
    package var notes: [String]
    /// nil: it was not asked for.
    package var join: GitJoin?

    package init(
        commit: String,
        ref: String? = nil,
        files: [SourceFile],
        problems: [SourceProblem] = [],
        notes: [String] = [],
        join: GitJoin? = nil
    ) {
        self.commit = commit
        self.ref = ref
        self.files = files
        self.problems = problems
        self.notes = notes
        self.join = join
    }
}
