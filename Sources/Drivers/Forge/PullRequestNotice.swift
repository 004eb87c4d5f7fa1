/// What a webhook says about a pull request: look at this one. Nothing in it is believed beyond that.
package struct PullRequestNotice: Hashable, Sendable {
    package enum Action: String, Hashable, Sendable {
        case opened
        /// New commits, or others.
        case updated
        case reopened
        /// It is meant for another branch now.
        case baseChanged
        /// Merged, or given up.
        case closed
    }

    /// `github`, `gitlab`, `gitea`, `forgejo`.
    package var provider: String
    /// Every name by which the notice calls the repository that it is meant for.
    package var repositories: [String]
    package var number: Int
    package var action: Action
    /// nil where nothing was said.
    package var headCommit: String?
    /// A branch's name, `main`.
    package var baseRef: String?

    package init(provider: String, repositories: [String], number: Int, action: Action, headCommit: String? = nil, baseRef: String? = nil) {
        self.provider = provider
        self.repositories = repositories
        self.number = number
        self.action = action
        self.headCommit = headCommit
        self.baseRef = baseRef
    }
}
