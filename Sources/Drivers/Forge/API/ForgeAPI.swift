import Values

/// The requests that Plumb sends, for one repository of one forge.
struct ForgeAPI: Hashable, Sendable {
    let service: ForgeService
    /// `owner/name`; at GitLab with every group.
    let repository: String

    /// - Throws: where the name is none.
    init(_ service: ForgeService, repository: String) throws(ForgeFailure) {
        self.service = service
        let parts = repository.split(separator: "/", omittingEmptySubsequences: false)
        let isName = parts.allSatisfy { part in
            !part.isEmpty && part != "." && part != ".." && part.utf8.count <= 255
                && part.unicodeScalars.allSatisfy {
                    $0.isASCII && ($0.properties.isAlphabetic || $0.properties.numericType != nil || "._-".unicodeScalars.contains($0))
                }
        }
        guard isName, service == .gitlab ? (2...21).contains(parts.count) : parts.count == 2 else {
            let example = service == .gitlab ? "group/subgroup/name" : "owner/name"
            throw ForgeFailure(
                .invalid,
                "'\(repository.printable(limit: 100))' is no name of a repository at \(service.name)",
                fix: "Write it as \(example)."
            )
        }
        self.repository = repository
    }

    private var isGitLab: Bool { service == .gitlab }
    private var root: String { isGitLab ? "/projects/\(ForgeRequest.encoded(repository))" : "/repos/\(repository)" }
    /// GitLab has notes where the others have the comments of an issue.
    private func thread(_ number: Int) -> String { isGitLab ? "\(root)/merge_requests/\(number)/notes" : "\(root)/issues/\(number)/comments" }
    private func comment(_ id: Int64, on number: Int) -> String { isGitLab ? "\(thread(number))/\(id)" : "\(root)/issues/comments/\(id)" }

    // MARK: Who and what

    func repositoryFacts() -> ForgeRequest { ForgeRequest(.get, root) }

    func user() -> ForgeRequest { ForgeRequest(.get, "/user") }

    func pullRequest(_ number: Int) -> ForgeRequest { ForgeRequest(.get, isGitLab ? "\(root)/merge_requests/\(number)" : "\(root)/pulls/\(number)") }

    func openPullRequests(base: String) -> ForgeRequest {
        switch service {
        case .github: ForgeRequest(.get, "\(root)/pulls", query: [("base", base), ("per_page", "100"), ("state", "open")])
        case .gitlab: ForgeRequest(.get, "\(root)/merge_requests", query: [("per_page", "100"), ("state", "opened"), ("target_branch", base)])
        // Gitea knows a filter for the base since 1.24 only.
        case .gitea, .forgejo: ForgeRequest(.get, "\(root)/pulls", query: [("limit", "50"), ("state", "open")])
        }
    }

    /// - Parameter id: of the user; GitLab has no permission by name.
    func permission(of login: String, id: Int64?) -> ForgeRequest {
        isGitLab
            ? ForgeRequest(.get, "\(root)/members/all/\(id ?? 0)")
            : ForgeRequest(.get, "\(root)/collaborators/\(ForgeRequest.encoded(login))/permission")
    }

    // MARK: Comments

    /// - Parameter pageSize: nothing at Gitea and Forgejo, which send all at once.
    func comments(on number: Int, pageSize: Int) -> ForgeRequest {
        switch service {
        case .github: ForgeRequest(.get, thread(number), query: [("per_page", "\(pageSize)")])
        case .gitlab:
            ForgeRequest(
                .get,
                thread(number),
                query: [("activity_filter", "only_comments"), ("order_by", "created_at"), ("per_page", "\(pageSize)"), ("sort", "asc")]
            )
        case .gitea, .forgejo: ForgeRequest(.get, thread(number))
        }
    }

    func createComment(_ text: String, on number: Int) -> ForgeRequest { ForgeRequest(.post, thread(number), body: ["body": .string(text)]) }

    func updateComment(_ id: Int64, on number: Int, to text: String) -> ForgeRequest {
        ForgeRequest(isGitLab ? .put : .patch, comment(id, on: number), body: ["body": .string(text)])
    }

    func deleteComment(_ id: Int64, on number: Int) -> ForgeRequest { ForgeRequest(.delete, comment(id, on: number)) }

    // MARK: Statuses

    func status(_ status: ReportStatus, on commit: String) -> ForgeRequest {
        var body: Value = [
            "context": .string(status.context), "description": .string(status.description.shortened(to: ForgeService.descriptionLimit)),
            "state": .string(word(for: status.state)),
        ]
        // A link that is too long would cost the whole status.
        if let link = status.link, link.unicodeScalars.count <= service.linkLimit { body["target_url"] = .string(link) }
        // The last one of a context is the one that is shown.
        return ForgeRequest(.post, "\(root)/statuses/\(ForgeRequest.encoded(commit))", body: body, isRepeatable: true)
    }

    /// Those that a commit has, the newest among the first.
    func statuses(on commit: String, context: String) -> ForgeRequest {
        let commit = ForgeRequest.encoded(commit)
        switch service {
        case .github: return ForgeRequest(.get, "\(root)/commits/\(commit)/statuses", query: [("per_page", "100")])
        case .gitlab:
            let query = [("name", context), ("order_by", "id"), ("per_page", "20"), ("sort", "desc")]
            return ForgeRequest(.get, "\(root)/repository/commits/\(commit)/statuses", query: query)
        case .gitea, .forgejo: return ForgeRequest(.get, "\(root)/statuses/\(commit)", query: [("limit", "50"), ("sort", "highestindex")])
        }
    }

    /// Whether the last status of its context says this already.
    func isShown(_ status: ReportStatus, in statuses: [Value]) -> Bool {
        let own = statuses.filter { ($0["context"] ?? $0["name"])?.stringValue == status.context }
        guard let last = own.max(by: { ($0["id"]?.intValue ?? 0) < ($1["id"]?.intValue ?? 0) }) else { return false }
        let link = status.link.flatMap { $0.unicodeScalars.count <= service.linkLimit ? $0 : nil }
        return (last["state"] ?? last["status"])?.stringValue == word(for: status.state)
            && last["description"]?.stringValue == status.description.shortened(to: ForgeService.descriptionLimit)
            && (last["target_url"]?.stringValue ?? "") == (link ?? "")
    }

    private func word(for state: ReportStatus.State) -> String {
        switch state {
        case .pending: "pending"
        case .success: "success"
        case .failure: isGitLab ? "failed" : "failure"
        case .error: isGitLab ? "failed" : "error"
        }
    }

    // MARK: Issues

    /// - Parameter author: nil: by anybody.
    func issues(by author: String?, pageSize: Int) -> ForgeRequest {
        let name =
            switch service {
            case .github: "creator"
            case .gitlab: "author_username"
            case .gitea, .forgejo: "created_by"
            }
        var query = author.map { [(name, $0)] } ?? []
        switch service {
        case .github: query += [("direction", "asc"), ("per_page", "\(pageSize)"), ("sort", "created"), ("state", "all")]
        case .gitlab: query += [("order_by", "created_at"), ("per_page", "\(pageSize)"), ("scope", "all"), ("sort", "asc"), ("state", "all")]
        case .gitea, .forgejo: query += [("limit", "\(min(pageSize, 50))"), ("state", "all"), ("type", "issues")]
        }
        return ForgeRequest(.get, "\(root)/issues", query: query)
    }

    func createIssue(title: String, text: String) -> ForgeRequest {
        ForgeRequest(.post, "\(root)/issues", body: ["title": .string(title), isGitLab ? "description" : "body": .string(text)])
    }

    /// - Parameters:
    ///   - text: nil: stays.
    ///   - opens: nil: stays.
    func updateIssue(_ number: Int, title: String? = nil, text: String? = nil, opens: Bool?) -> ForgeRequest {
        var body: Value = .object([:])
        body["title"] = title.map(Value.string)
        body[isGitLab ? "description" : "body"] = text.map(Value.string)
        if let opens {
            body[isGitLab ? "state_event" : "state"] = isGitLab ? (opens ? "reopen" : "close") : (opens ? "open" : "closed")
        }
        return ForgeRequest(isGitLab ? .put : .patch, "\(root)/issues/\(number)", body: body)
    }

    // MARK: GitHub Apps

    func app() -> ForgeRequest { ForgeRequest(.get, "/app", login: .app) }

    func installation() -> ForgeRequest { ForgeRequest(.get, "\(root)/installation", login: .app) }

    /// A token that is good for this repository alone.
    func installationToken(_ installation: Int64) -> ForgeRequest {
        let name = repository.split(separator: "/").last.map(String.init) ?? repository
        return ForgeRequest(
            .post,
            "/app/installations/\(installation)/access_tokens",
            body: ["repositories": [.string(name)]],
            isRepeatable: true,
            login: .app
        )
    }

    func checkRuns(named name: String, on commit: String) -> ForgeRequest {
        ForgeRequest(.get, "\(root)/commits/\(commit)/check-runs", query: [("check_name", name), ("filter", "latest")])
    }

    func createCheckRun(_ check: ReportCheck, on commit: String) -> ForgeRequest {
        var body = checkRun(check, annotations: check.annotations.prefix(ReportCheck.annotationsAtATime))
        body["name"] = .string(check.name)
        body["head_sha"] = .string(commit)
        body["external_id"] = .string(check.fingerprint)
        body["status"] = "completed"
        body["conclusion"] = check.isFailure ? "failure" : "success"
        return ForgeRequest(.post, "\(root)/check-runs", body: body)
    }

    /// Annotations that are sent to a run come in addition to those it has: sending them twice shows them twice.
    func addAnnotations(to run: Int64, _ check: ReportCheck, from first: Int) -> ForgeRequest {
        let rest = check.annotations.dropFirst(first).prefix(ReportCheck.annotationsAtATime)
        return ForgeRequest(.patch, "\(root)/check-runs/\(run)", body: checkRun(check, annotations: rest), isRepeatable: false)
    }

    private func checkRun(_ check: ReportCheck, annotations: ArraySlice<ReportCheck.Annotation>) -> Value {
        [
            "output": [
                "title": .string(check.title.shortened(to: 255)), "summary": .string(check.summary.shortened(toBytes: 65_535)),
                "annotations": .array(annotations.map(\.value)),
            ]
        ]
    }
}
