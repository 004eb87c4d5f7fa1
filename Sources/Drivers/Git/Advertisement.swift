internal import SSH

/// What a repository says it has, before anything of it is fetched.
struct Advertisement: Sendable {
    struct Reference: Hashable, Sendable {
        /// What the reference holds: a commit, or an annotated tag.
        var object: String
        /// The commit of an annotated tag, where it is known; else nil.
        var peeled: String?
    }

    /// The reference that HEAD stands for, where that was said.
    var headReference: String?
    var references: [String: Reference] = [:]

    /// Takes references as they are advertised: `refs/tags/v1^{}` has what the tag is of.
    mutating func add(_ name: String, _ object: String) {
        if name.hasSuffix("^{}") {
            references[String(name.dropLast(3)), default: Reference(object: object)].peeled = object
        } else {
            references[name, default: Reference(object: object)].object = object
        }
    }

    /// What was asked for.
    struct Choice: Hashable, Sendable {
        /// nil: a commit, wherever it is.
        var reference: String?
        var object: String
        /// nil: known only once it is fetched.
        var commit: String?
    }

    static func isCommit(_ text: String) -> Bool { text.utf8.count == 40 && isHexadecimal(text) }

    private static func isHexadecimal(_ text: String) -> Bool { text.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) } }

    func choose(_ revision: String?) throws(GitFailure) -> Choice {
        guard let revision, !revision.isEmpty, revision != "HEAD" else {
            if let name = headReference, let head = references[name] { return choice(name, head) }
            if let head = references["HEAD"] { return Choice(reference: "HEAD", object: head.object, commit: head.object) }
            if references.isEmpty {
                throw GitFailure(.invalid, "the repository is empty: nothing was ever pushed to it", fix: "Push the specs, then try again.")
            }
            let name = headReference.map { " ('\($0)')" } ?? ""
            throw GitFailure(.invalid, "the repository's HEAD stands for a branch\(name) that is not there", fix: "Say which one: \(known)")
        }
        // As in git, forty digits are a commit and no name.
        if Self.isCommit(revision) { return Choice(reference: nil, object: revision, commit: revision) }
        if revision.hasPrefix("refs/") {
            if let found = references[revision] { return choice(revision, found) }
            throw missing(revision)
        }
        let found = ["refs/heads/\(revision)", "refs/tags/\(revision)"].compactMap { name in references[name].map { choice(name, $0) } }
        guard let first = found.first else { throw missing(revision) }
        if let second = found.dropFirst().first, first.object != second.object, first.object != second.commit {
            throw GitFailure(
                .invalid,
                "'\(revision)' is a branch and a tag, and they are not the same",
                fix: "Say which is meant: --revision refs/heads/\(revision) or refs/tags/\(revision)."
            )
        }
        return first
    }

    private func choice(_ name: String, _ reference: Reference) -> Choice {
        // Only tags can stand for something that is no commit by itself.
        Choice(reference: name, object: reference.object, commit: reference.peeled ?? (name.hasPrefix("refs/heads/") ? reference.object : nil))
    }

    private func missing(_ revision: String) -> GitFailure {
        let isShort = (4..<40).contains(revision.utf8.count) && Self.isHexadecimal(revision)
        return GitFailure(
            .invalid,
            "the repository has no branch and no tag '\(revision)'",
            fix: isShort ? "If it is a commit, give all of its 40 digits." : known
        )
    }

    private var known: String {
        let full = references.keys.filter { $0.hasPrefix("refs/heads/") || $0.hasPrefix("refs/tags/") }
        let names = Set(full.map { $0.hasPrefix("refs/heads/") ? String($0.dropFirst(11)) : String($0.dropFirst(10)) }).sorted()
        if names.isEmpty { return "It has no branches at all." }
        let shown = names.prefix(10).map { $0.quotable(limit: 80) }.joined(separator: ", ")
        return "There are: \(shown)\(names.count > 10 ? ", and \(names.count - 10) more" : "")."
    }
}
