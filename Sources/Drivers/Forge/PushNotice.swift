/// What a push webhook or a hook says: look at this. Nothing in it is believed beyond that.
package struct PushNotice: Hashable, Sendable {
    /// `github`, `gitlab`, …, `generic`, `hook`.
    package var provider: String
    /// Every name by which the notice calls its repository: URLs and `owner/name`, as they were sent.
    package var repositories: [String]
    /// `refs/heads/main`; nil where nothing was said: whatever is followed.
    package var ref: String?
    /// The commit that the ref points to now; nil where nothing was said, or where the ref was deleted.
    package var commit: String?

    package init(provider: String, repositories: [String], ref: String? = nil, commit: String? = nil) {
        self.provider = provider
        self.repositories = repositories
        self.ref = ref
        self.commit = commit
    }
}
