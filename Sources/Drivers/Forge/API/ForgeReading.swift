import Values

/// A pull request (at GitLab: a merge request), as its forge has it.
package struct PullRequest: Hashable, Sendable {
    package var number: Int
    /// nil: the account is gone.
    package var author: String?
    /// Whether the author could push to the repository anyway. False wherever the forge does not say so.
    package var authorMayWrite: Bool
    /// Its head is in another repository, or in one that is gone.
    package var isFork: Bool
    package var headCommit: String
    package var headRef: String
    package var baseRef: String
    /// Of the base branch, when the forge looked last; the branch itself may be ahead.
    package var baseCommit: String?
    /// Everybody, or everybody with an account there, can read it.
    package var isPublic: Bool
    package var isOpen: Bool

    package init(
        number: Int,
        author: String?,
        authorMayWrite: Bool,
        isFork: Bool,
        headCommit: String,
        headRef: String,
        baseRef: String,
        baseCommit: String? = nil,
        isPublic: Bool,
        isOpen: Bool
    ) {
        self.number = number
        self.author = author
        self.authorMayWrite = authorMayWrite
        self.isFork = isFork
        self.headCommit = headCommit
        self.headRef = headRef
        self.baseRef = baseRef
        self.baseCommit = baseCommit
        self.isPublic = isPublic
        self.isOpen = isOpen
    }
}

/// Somebody with an account.
struct ForgeUser: Hashable, Sendable {
    var login: String
    var id: Int64?
    /// An App's account, at GitHub. A person can't have one.
    var isBot: Bool

    init?(_ value: Value?) {
        guard let login = (value?["login"] ?? value?["username"])?.stringValue, !login.isEmpty else { return nil }
        self.login = login
        id = value?["id"]?.intValue
        isBot = value?["type"]?.stringValue == "Bot"
    }
}

struct ForgeComment: Hashable, Sendable {
    var id: Int64
    var author: ForgeUser?
    var text: String

    init?(_ value: Value) {
        guard let id = value["id"]?.intValue, value["system"]?.boolValue != true else { return nil }
        self.id = id
        author = ForgeUser(value["user"] ?? value["author"])
        text = value["body"]?.stringValue ?? ""
    }
}

struct ForgeIssue: Hashable, Sendable {
    var number: Int
    var author: ForgeUser?
    var title: String
    var text: String
    var isOpen: Bool

    /// nil also for a pull request, which GitHub lists among the issues.
    init?(_ value: Value) {
        guard let number = (value["iid"] ?? value["number"])?.intValue, value["pull_request"]?.objectValue == nil else { return nil }
        self.number = Int(number)
        author = ForgeUser(value["user"] ?? value["author"])
        title = value["title"]?.stringValue ?? ""
        text = (value["description"] ?? value["body"])?.stringValue ?? ""
        isOpen = ["open", "opened"].contains(value["state"]?.stringValue)
    }
}

extension ForgeAPI {
    /// - Parameter project: GitLab's answer about the repository; the others have it in the pull request.
    /// - Returns: nil where something is missing without which nothing can be planned.
    func pullRequest(_ value: Value, number: Int, project: Value?) -> (PullRequest, author: ForgeUser?)? {
        let author = ForgeUser(value["user"] ?? value["author"])
        let isGitLab = service == .gitlab
        let head = isGitLab ? value["sha"] : value[path: "head", "sha"]
        let headRef = isGitLab ? value["source_branch"] : value[path: "head", "ref"]
        let baseRef = isGitLab ? value["target_branch"] : value[path: "base", "ref"]
        let baseCommit = isGitLab ? value[path: "diff_refs", "start_sha"] : value[path: "base", "sha"]
        guard let commit = head?.stringValue.flatMap(PushNotice.commit), let base = baseRef?.stringValue, !base.isEmpty else { return nil }
        let request = PullRequest(
            number: number,
            author: author?.login,
            authorMayWrite: false,
            isFork: isFork(value),
            headCommit: commit,
            headRef: headRef?.stringValue ?? "",
            baseRef: base,
            baseCommit: baseCommit?.stringValue.flatMap(PushNotice.commit),
            isPublic: isPublic(project ?? value[path: "base", "repo"]),
            isOpen: ["open", "opened"].contains(value["state"]?.stringValue)
        )
        return (request, author)
    }

    /// What is not said is a fork: strangers come from there.
    private func isFork(_ value: Value) -> Bool {
        let (head, base) =
            service == .gitlab
            ? (value["source_project_id"], value["target_project_id"])
            : (
                value[path: "head", "repo", "id"] ?? value[path: "head", "repo_id"],
                value[path: "base", "repo", "id"] ?? value[path: "base", "repo_id"]
            )
        guard let head = head?.intValue, let base = base?.intValue else { return true }
        // A fork that is gone: Gitea gives it the number 0, GitHub none.
        return head != base || head == 0 || (service == .github && value[path: "head", "repo"]?.objectValue == nil)
    }

    /// What is not said is public.
    func isPublic(_ repository: Value?) -> Bool {
        let visibility = repository?["visibility"]?.stringValue
        // GitHub calls private what everybody with an account in an enterprise can read.
        return service == .gitlab ? visibility != "private" : repository?["private"]?.boolValue != true || visibility == "internal"
    }

    func mayWrite(_ permission: Value) -> Bool {
        // 30 is a Developer's.
        if service == .gitlab { return (permission["access_level"]?.intValue ?? 0) >= 30 && permission["state"]?.stringValue != "blocked" }
        return ["admin", "owner", "write"].contains(permission["permission"]?.stringValue)
    }
}
