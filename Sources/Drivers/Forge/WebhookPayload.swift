import Foundation
import Values

extension WebhookClaim {
    /// More changes in one delivery than this are said as one: look at what is followed.
    private static let mostChanges = 64

    /// Reads a body whose signature was right.
    func delivery(of body: [UInt8]) -> Result<WebhookDelivery, WebhookRefusal> {
        func result(_ event: WebhookDelivery.Event) -> Result<WebhookDelivery, WebhookRefusal> {
            .success(WebhookDelivery(forge: forge, id: delivery, event: event))
        }
        var isAboutPullRequest = false
        switch (forge, event?.lowercased()) {
        case (.generic, _), (.github, "push"), (.gitea, "push"), (.forgejo, "push"): break
        case (.github, "pull_request"), (.gitea, "pull_request"), (.forgejo, "pull_request"), (.gitlab, "merge request hook"):
            isAboutPullRequest = true
        case (.gitlab, "push hook"), (.gitlab, "tag push hook"), (.gitlab, "system hook"): break
        case (.bitbucket, "repo:push"), (.bitbucket, "repo:refs_changed"): break
        default: return result(.ignored(event ?? "none"))
        }
        guard let payload = payload(in: body), payload.objectValue != nil else { return .failure(.unreadable("its body is no JSON object")) }
        if forge == .gitlab, payload["object_kind"]?.stringValue == "merge_request" { isAboutPullRequest = true }
        if isAboutPullRequest {
            let notice = forge == .gitlab ? mergeRequest(in: payload) : pullRequest(in: payload)
            return result(notice.map { .pullRequest($0) } ?? .ignored(event ?? "none"))
        }
        if forge == .gitlab, let name = (payload["event_name"] ?? payload["object_kind"])?.stringValue, name != "push", name != "tag_push" {
            return result(.ignored(name))
        }
        let repositories = Self.repositories(in: payload)
        let pushes = forge == .bitbucket ? changes(in: payload, repositories) : [Self.push(in: payload)]
        let notices = pushes.count > Self.mostChanges ? [(ref: nil, commit: nil)] : pushes
        return result(
            .pushes(notices.map { PushNotice(provider: forge.rawValue, repositories: repositories, ref: $0.ref, commit: $0.commit) })
        )
    }

    /// nil: nothing has changed that a plan depends on.
    private func pullRequest(in payload: Value) -> PullRequestNotice? {
        let action: PullRequestNotice.Action
        switch payload["action"]?.stringValue {
        case "opened": action = .opened
        // GitHub's, and that of Gitea and Forgejo.
        case "synchronize", "synchronized": action = .updated
        case "reopened": action = .reopened
        case "closed": action = .closed
        case "edited" where payload[path: "changes", "base"] != nil || payload[path: "changes", "ref"] != nil: action = .baseChanged
        default: return nil
        }
        let request = payload["pull_request"]
        return notice(
            action,
            number: payload["number"] ?? request?["number"],
            head: request?[path: "head", "sha"],
            base: request?[path: "base", "ref"],
            in: payload
        )
    }

    private func mergeRequest(in payload: Value) -> PullRequestNotice? {
        let request = payload["object_attributes"]
        let action: PullRequestNotice.Action
        switch request?["action"]?.stringValue {
        case "open": action = .opened
        case "reopen": action = .reopened
        case "close", "merge": action = .closed
        // Only new commits have an old one.
        case "update" where request?["oldrev"]?.stringValue != nil: action = .updated
        case "update" where payload[path: "changes", "target_branch"] != nil: action = .baseChanged
        default: return nil
        }
        return notice(action, number: request?["iid"], head: request?[path: "last_commit", "id"], base: request?["target_branch"], in: payload)
    }

    private func notice(_ action: PullRequestNotice.Action, number: Value?, head: Value?, base: Value?, in payload: Value) -> PullRequestNotice? {
        guard let number = number?.intValue, (1...Int64(Int32.max)).contains(number) else { return nil }
        let branch = base?.stringValue.flatMap { $0.isEmpty || $0.utf8.count > 1024 ? nil : $0 }
        return PullRequestNotice(
            provider: forge.rawValue,
            repositories: Self.repositories(in: payload),
            number: Int(number),
            action: action,
            headCommit: Self.commit(head),
            baseRef: branch
        )
    }

    private func payload(in body: [UInt8]) -> Value? {
        guard isForm else { return try? Value(json: body) }
        for field in body.split(separator: UInt8(ascii: "&")) where field.starts(with: Array("payload=".utf8)) {
            // A form writes a space as '+'.
            let text = String(decoding: field.dropFirst(8).map { $0 == UInt8(ascii: "+") ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
            return text.removingPercentEncoding.flatMap { try? Value(json: $0.utf8) }
        }
        return nil
    }

    private typealias Push = (ref: String?, commit: String?)

    private static func push(in payload: Value) -> Push {
        let isDeleted = payload["deleted"]?.boolValue ?? false
        return (ref(payload["ref"]), isDeleted ? nil : commit(payload["after"] ?? payload["commit"]))
    }

    /// Bitbucket tells all refs of a push at once: Cloud in `push.changes`, Data Center in `changes`.
    private func changes(in payload: Value, _ repositories: [String]) -> [Push] {
        if let changes = payload[path: "push", "changes"]?.arrayValue {
            return changes.map { change in
                // A deleted ref has `new: null`.
                let named = change["new"]?.objectValue == nil ? change["old"] : change["new"]
                let folder = named?["type"]?.stringValue == "tag" ? "refs/tags/" : "refs/heads/"
                let ref = named?["name"]?.stringValue.map { Value.string(folder + $0) }
                return (Self.ref(ref), Self.commit(change[path: "new", "target", "hash"]))
            }
        }
        return (payload["changes"]?.arrayValue ?? []).map { change in
            let isDeleted = change["type"]?.stringValue == "DELETE"
            return (Self.ref(change["refId"] ?? change[path: "ref", "id"]), isDeleted ? nil : Self.commit(change["toHash"]))
        }
    }

    private static func ref(_ value: Value?) -> String? {
        guard let text = value?.stringValue, text.hasPrefix("refs/"), text.utf8.count <= 1024 else { return nil }
        return text
    }

    /// A full commit ID that is not all zeros: those say that there is none.
    private static func commit(_ value: Value?) -> String? { value?.stringValue.flatMap(PushNotice.commit) }

    /// Whatever the payload calls its repository, the first of each.
    private static func repositories(in payload: Value) -> [String] {
        var names: [String] = []
        func add(_ value: Value?) {
            guard let name = value?.stringValue, !name.isEmpty, name.utf8.count <= 2048, names.count < 16, !names.contains(name) else { return }
            names.append(name)
        }
        add(payload["repository"])
        for part in [payload["repository"], payload["project"]] {
            for key in [
                "full_name", "path_with_namespace", "clone_url", "ssh_url", "git_http_url", "git_ssh_url", "html_url", "web_url", "git_url", "url",
                "homepage",
            ] { add(part?[key]) }
        }
        add(payload[path: "repository", "links", "html", "href"])
        for link in (payload[path: "repository", "links", "clone"]?.arrayValue ?? []).prefix(4) { add(link["href"]) }
        return names
    }
}

extension PushNotice {
    /// 40 or 64 hexadecimal digits, in small letters; nil for anything else and for zeros only.
    package static func commit(_ text: String) -> String? {
        let text = text.lowercased()
        guard text.utf8.count == 40 || text.utf8.count == 64, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
            text.utf8.contains(where: { $0 != 0x30 })
        else { return nil }
        return text
    }
}
