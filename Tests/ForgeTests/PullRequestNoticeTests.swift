import Forge
import Foundation
import Testing

@Suite struct PullRequestNoticeTests {
    private func notice(_ forge: ForgeKind, _ event: String, _ text: String) throws -> PullRequestNotice? {
        let body = Array(text.utf8)
        let delivery = try #require(try Sender.all().judge(Sender.headers(of: forge, event: event, body: body), body).delivery, "\(text)")
        switch delivery.event {
        case .pullRequest(let notice): return notice
        case .ignored: return nil
        case .pushes: throw WebhookRefusal.unreadable("a push")
        }
    }

    @Test(
        arguments: [ForgeKind.github, .gitea, .forgejo],
        [
            ("opened", "", PullRequestNotice.Action.opened), ("synchronize", "", .updated), ("synchronized", "", .updated),
            ("reopened", "", .reopened),
            ("closed", "", .closed), ("edited", #""changes":{"base":{"ref":{"from":"old"}}},"#, .baseChanged),
            ("edited", #""changes":{"ref":{"from":"old"}},"#, .baseChanged), ("edited", #""changes":{"title":{"from":"old"}},"#, nil),
            ("labeled", "", nil),
            ("review_requested", "", nil),
        ] as [(String, String, PullRequestNotice.Action?)]
    )
    func hearsWhatChangesAPlan(_ forge: ForgeKind, _ sample: (String, String, PullRequestNotice.Action?)) throws {
        let body = """
            {"action":"\(sample.0)","number":3,\(sample.1)"pull_request":{"number":3,"head":{"sha":"\(Sender.commit)","ref":"feature"},
            "base":{"ref":"main","sha":"\(Sender.other)"}},"repository":{"full_name":"owner/specs"}}
            """
        let expected = sample.2.map {
            PullRequestNotice(
                provider: forge.rawValue,
                repositories: ["owner/specs"],
                number: 3,
                action: $0,
                headCommit: Sender.commit,
                baseRef: "main"
            )
        }
        #expect(try notice(forge, "pull_request", body) == expected)
    }

    @Test(
        arguments: ["Merge Request Hook", "System Hook"],
        [
            (#""action":"open""#, "", PullRequestNotice.Action.opened), (#""action":"reopen""#, "", .reopened), (#""action":"close""#, "", .closed),
            (#""action":"merge""#, "", .closed), (#""action":"update","oldrev":"\#(Sender.other)""#, "", .updated),
            (#""action":"update""#, #","changes":{"target_branch":{"previous":"a","current":"main"}}"#, .baseChanged),
            (#""action":"update""#, #","changes":{"title":{"previous":"a","current":"b"}}"#, nil), (#""action":"approved""#, "", nil),
            (#""x":1"#, "", nil),
        ] as [(String, String, PullRequestNotice.Action?)]
    )
    func hearsGitLab(_ event: String, _ sample: (String, String, PullRequestNotice.Action?)) throws {
        let body = """
            {"object_kind":"merge_request","project":{"path_with_namespace":"owner/specs"},"object_attributes":{"iid":3,"id":99,"target_branch":"main",
            "last_commit":{"id":"\(Sender.commit)"},\(sample.0)}\(sample.1)}
            """
        let expected = sample.2.map {
            PullRequestNotice(
                provider: "gitlab",
                repositories: ["owner/specs"],
                number: 3,
                action: $0,
                headCommit: Sender.commit,
                baseRef: "main"
            )
        }
        #expect(try notice(.gitlab, event, body) == expected)
    }

    /// Genuine, and yet nothing that can be looked at.
    @Test(arguments: [
        "{}", #"{"action":"opened"}"#, #"{"action":"opened","number":0}"#, #"{"action":"opened","number":"3"}"#,
        #"{"action":"opened","number":99999999999}"#,
    ])
    func ignoresWhatHasNoNumber(_ body: String) throws {
        for forge in [ForgeKind.github, .gitea, .forgejo] { #expect(try notice(forge, "pull_request", body) == nil) }
        #expect(try notice(.gitlab, "Merge Request Hook", body) == nil)
    }

    @Test func believesNoCommitThatIsNone() throws {
        let body =
            #"{"action":"opened","number":3,"pull_request":{"head":{"sha":"HEAD; rm"},"base":{"ref":""}},"repository":{"full_name":"owner/specs"}}"#
        let found = try #require(try notice(.github, "pull_request", body))
        #expect(found.headCommit == nil && found.baseRef == nil)
    }

    @Test func comesFromOurSecretOnly() throws {
        let body = Array(#"{"action":"opened","number":3}"#.utf8)
        for forge in [ForgeKind.github, .gitea, .forgejo, .gitlab] {
            let headers = Sender.headers(of: forge, event: forge == .gitlab ? "Merge Request Hook" : "pull_request", body: body, secret: "another")
            #expect(try Sender.all().judge(headers, body).refusal == .wrong)
        }
    }

    @Test func hearsADeliveryOnce() {
        let notice = PullRequestNotice(provider: "github", repositories: ["owner/specs"], number: 3, action: .opened)
        func delivery(_ id: String?) -> WebhookDelivery { WebhookDelivery(forge: .github, id: id, event: .pullRequest(notice)) }
        var recent = RecentDeliveries()
        #expect(recent.pullRequest(in: delivery("1"), at: .zero) == notice)
        #expect(recent.pullRequest(in: delivery("1"), at: .seconds(1)) == nil)
        #expect(recent.pullRequest(in: delivery("2"), at: .seconds(1)) == notice)
        #expect(recent.pullRequest(in: delivery(nil), at: .seconds(1)) == notice)
        #expect(recent.news(in: delivery("3"), at: .seconds(1)).isEmpty)
        #expect(recent.pullRequest(in: WebhookDelivery(forge: .github, id: "4", event: .pushes([])), at: .seconds(1)) == nil)
    }

    @Test func isAboutTheFollowedRepository() {
        let repository = FollowedRepository(url: "https://forge.example/owner/specs.git")
        func isMeant(_ names: String...) -> Bool {
            repository.isMeant(by: PullRequestNotice(provider: "gitea", repositories: names, number: 1, action: .opened))
        }
        #expect(isMeant("owner/specs", "https://forge.example/owner/specs.git"))
        #expect(!isMeant("fork/specs", "https://forge.example/fork/specs.git"))
    }

    /// Payloads as the forges publish them, where they are on this machine.
    @Test func readsPublishedPayloads() throws {
        let given = ProcessInfo.processInfo.environment["PLUMB_FORGE_DESCRIPTIONS"]
        let beside = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../shared/forges").standardized.path
        for forge in [ForgeKind.github, .gitea, .forgejo, .gitlab] {
            let folder = "\(given ?? beside)/\(forge.rawValue)/payloads"
            for file in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
                let words = file.split(separator: ".").map(String.init)
                guard let kind = words.first, ["pull_request", "merge_request"].contains(kind),
                    let data = FileManager.default.contents(atPath: "\(folder)/\(file)")
                else { continue }
                let event = forge == .gitlab ? "Merge Request Hook" : "pull_request"
                let found = try notice(forge, event, String(decoding: data, as: UTF8.self))
                let action: PullRequestNotice.Action?
                switch words[1] {
                case "opened", "open", "full-opened": action = .opened
                case "synchronize", "synchronized", "update", "full-synchronized": action = .updated
                case "reopened", "reopen": action = .reopened
                case "closed", "close": action = .closed
                case "json": action = .opened
                default: action = nil
                }
                #expect(found?.action == action, "\(forge.rawValue)/\(file)")
                guard let found else { continue }
                #expect(found.number > 0 && found.headCommit != nil && found.baseRef?.isEmpty == false, "\(forge.rawValue)/\(file)")
                #expect(found.repositories.contains { $0.contains("/") }, "\(forge.rawValue)/\(file)")
            }
        }
    }
}
