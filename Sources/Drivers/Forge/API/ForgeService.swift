/// A forge whose API Plumb speaks; the names are those of `--forge`.
package enum ForgeService: String, Hashable, Sendable, CaseIterable {
    case forgejo
    case gitea
    case github
    case gitlab

    /// Of one comment or issue, in bytes. GitHub counts characters, of which there are never more; Gitea and Forgejo have no limit of their own.
    package var textLimit: Int {
        switch self {
        case .github: 65_536
        case .gitlab, .gitea, .forgejo: 1_000_000
        }
    }

    /// Of a status' description, in characters. GitHub's is the smallest, and longer ones are read by nobody.
    static let descriptionLimit = 140

    /// Of a status' link, in characters.
    var linkLimit: Int { self == .gitlab ? 255 : 2048 }

    /// Where the head of a pull request can be fetched from, forks included, without asking the fork.
    package func headRef(ofPullRequest number: Int) -> String {
        self == .gitlab ? "refs/merge-requests/\(number)/head" : "refs/pull/\(number)/head"
    }

    /// What a token has to be allowed, for a person who makes one.
    var neededRights: String {
        switch self {
        case .github: "a fine-grained token for this repository with 'Pull requests', 'Issues' and 'Commit statuses' read and write"
        case .gitlab: "a project access token with the role Developer and the scope 'api'"
        case .gitea, .forgejo: "a token with the scopes 'write:issue', 'write:repository' and 'read:user'"
        }
    }

    package var name: String {
        switch self {
        case .github: "GitHub"
        case .gitlab: "GitLab"
        case .gitea: "Gitea"
        case .forgejo: "Forgejo"
        }
    }
}
