import Crypto
import Forge
import Foundation
import Testing

typealias Fields = [(name: String, value: String)]

/// What forges send, built as they build it.
enum Sender {
    static let secret = "correct horse battery staple"
    static let now: Int64 = 1_800_000_000
    static let commit = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
    static let other = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
    static let none = String(repeating: "0", count: 40)

    static func signature(_ body: [UInt8], _ secret: String = secret) -> String {
        HMAC<SHA256>.authenticationCode(for: body, using: SymmetricKey(data: Array(secret.utf8))).map { String(format: "%02x", $0) }.joined()
    }

    /// Gitea and Forgejo sign for those who know GitHub or Gogs only, too.
    static func headers(of forge: ForgeKind, event: String, body: [UInt8], secret: String = secret, id: String = "d-1") -> Fields {
        let signature = signature(body, secret)
        let github: Fields = [
            ("X-GitHub-Event", event), ("X-GitHub-Delivery", id), ("X-Hub-Signature", "sha1=\(signature.prefix(40))"),
            ("X-Hub-Signature-256", "sha256=\(signature)"),
        ]
        let gitea: Fields = [
            ("X-Gitea-Event", event), ("X-Gitea-Delivery", id), ("X-Gitea-Signature", signature), ("X-Gogs-Event", event),
            ("X-Gogs-Signature", signature),
        ]
        let own: Fields =
            switch forge {
            case .github: github
            case .gitea: github + gitea
            case .forgejo: github + gitea + [("X-Forgejo-Event", event), ("X-Forgejo-Delivery", id), ("X-Forgejo-Signature", signature)]
            case .gitlab: [("X-Gitlab-Event", event), ("X-Gitlab-Token", secret), ("Idempotency-Key", id), ("X-Gitlab-Instance", "https://x")]
            case .bitbucket: [("X-Event-Key", event), ("X-Request-UUID", id), ("X-Hub-Signature", "sha256=\(signature)")]
            case .generic: [("X-Signature", "sha256=\(signature)")]
            }
        return own + [("Content-Type", "application/json"), ("User-Agent", "test")]
    }

    static func verifier(_ forges: [ForgeKind: [String]], tokensCount: Bool = true) throws -> WebhookVerifier {
        var secrets: [ForgeKind: [WebhookSecret]] = [:]
        for (forge, texts) in forges { secrets[forge] = try texts.map { try WebhookSecret($0.utf8, of: forge) } }
        return WebhookVerifier(secrets: secrets, tokensCount: tokensCount)
    }

    static func all(_ secret: String = secret) throws -> WebhookVerifier {
        try verifier(Dictionary(uniqueKeysWithValues: ForgeKind.allCases.map { ($0, [secret]) }))
    }
}

extension WebhookVerifier {
    func judge(_ headers: Fields, _ body: [UInt8], at time: Int64 = Sender.now) -> Result<WebhookDelivery, WebhookRefusal> {
        claim(WebhookHeaders(headers)).flatMap { verify($0, body: body, at: time) }
    }
}

extension Result where Success == WebhookDelivery, Failure == WebhookRefusal {
    var refusal: WebhookRefusal? { if case .failure(let refusal) = self { refusal } else { nil } }
    var delivery: WebhookDelivery? { try? get() }
    var notices: [PushNotice]? { if case .pushes(let notices) = delivery?.event { notices } else { nil } }
}

/// One request as published or as we read the documentation, and what it says.
struct Sample: Sendable, CustomTestStringConvertible {
    var forge: ForgeKind
    var event: String
    var body: String
    /// nil: ignored.
    var pushes: [(ref: String?, commit: String?)]?
    /// As what it is ignored, where that is not the event.
    var ignored: String?
    var name = "owner/specs"

    var testDescription: String { "\(forge.rawValue) \(event) \(body.count)" }

    static let all: [Sample] = {
        let (commit, other, none) = (Sender.commit, Sender.other, Sender.none)
        let repository = #""repository":{"full_name":"owner/specs","clone_url":"https://forge.example/owner/specs.git"}"#
        let project = #""project":{"path_with_namespace":"owner/specs","git_http_url":"https://forge.example/owner/specs.git"}"#
        func bitbucket(_ changes: String) -> String {
            #"{"repository":{"full_name":"owner/specs","links":{"html":{"href":"https://bitbucket.org/owner/specs"}}},"push":{"changes":[\#(changes)]}}"#
        }
        func new(_ type: String, _ name: String) -> String { #"{"new":{"type":"\#(type)","name":"\#(name)","target":{"hash":"\#(commit)"}}}"# }
        var samples: [Sample] = []
        for forge in [ForgeKind.github, .gitea, .forgejo] {
            samples += [
                Sample(
                    forge: forge,
                    event: "push",
                    body: #"{"ref":"refs/heads/main","before":"\#(other)","after":"\#(commit)",\#(repository)}"#,
                    pushes: [("refs/heads/main", commit)]
                ),
                Sample(
                    forge: forge,
                    event: "push",
                    body: #"{"ref":"refs/tags/v1","after":"\#(commit)",\#(repository)}"#,
                    pushes: [("refs/tags/v1", commit)]
                ),
                Sample(
                    forge: forge,
                    event: "push",
                    body: #"{"ref":"refs/heads/old","after":"\#(none)","deleted":true,\#(repository)}"#,
                    pushes: [("refs/heads/old", nil)]
                ),
                Sample(forge: forge, event: "ping", body: #"{"zen":"x"}"#, pushes: nil),
                Sample(forge: forge, event: "pull_request", body: #"{"action":"opened"}"#, pushes: nil),
                // What nobody reads need not be JSON.
                Sample(forge: forge, event: "create", body: "not json", pushes: nil),
            ]
        }
        samples += [
            Sample(
                forge: .gitlab,
                event: "Push Hook",
                body: #"{"object_kind":"push","event_name":"push","ref":"refs/heads/main","after":"\#(commit)",\#(project)}"#,
                pushes: [("refs/heads/main", commit)]
            ),
            Sample(
                forge: .gitlab,
                event: "Tag Push Hook",
                body: #"{"object_kind":"tag_push","ref":"refs/tags/v1","after":"\#(commit)",\#(project)}"#,
                pushes: [("refs/tags/v1", commit)]
            ),
            Sample(
                forge: .gitlab,
                event: "Push Hook",
                body: #"{"object_kind":"push","ref":"refs/heads/old","after":"\#(none)","checkout_sha":null,\#(project)}"#,
                pushes: [("refs/heads/old", nil)]
            ),
            Sample(forge: .gitlab, event: "System Hook", body: #"{"event_name":"project_create"}"#, pushes: nil, ignored: "project_create"),
            Sample(forge: .gitlab, event: "Merge Request Hook", body: "{}", pushes: nil),
            Sample(forge: .bitbucket, event: "repo:push", body: bitbucket(new("branch", "main")), pushes: [("refs/heads/main", commit)]),
            Sample(
                forge: .bitbucket,
                event: "repo:push",
                body: bitbucket(#"\#(new("tag", "v1")),{"new":null,"old":{"type":"branch","name":"old"}}"#),
                pushes: [("refs/tags/v1", commit), ("refs/heads/old", nil)]
            ),
            // So many that it is only said that there was something.
            Sample(
                forge: .bitbucket,
                event: "repo:push",
                body: bitbucket((0..<65).map { new("branch", "b\($0)") }.joined(separator: ",")),
                pushes: [(nil, nil)]
            ),
            Sample(
                forge: .bitbucket,
                event: "repo:refs_changed",
                body: """
                    {"changes":[{"refId":"refs/heads/main","toHash":"\(commit)","type":"UPDATE"},{"refId":"refs/heads/old","toHash":"\(none)","type":"DELETE"}],
                    "repository":{"links":{"clone":[{"href":"https://b.example/scm/owner/specs.git"}]}}}
                    """,
                pushes: [("refs/heads/main", commit), ("refs/heads/old", nil)],
                name: "https://b.example/scm/owner/specs.git"
            ),
            Sample(forge: .bitbucket, event: "diagnostics:ping", body: #"{"test":true}"#, pushes: nil),
            Sample(
                forge: .generic,
                event: "",
                body: #"{"repository":"owner/specs","ref":"refs/heads/main","commit":"\#(commit.uppercased())"}"#,
                pushes: [("refs/heads/main", commit)]
            ),
            // Not a ref, not a commit: said nothing.
            Sample(forge: .generic, event: "", body: #"{"repository":"owner/specs","ref":"main","commit":"HEAD"}"#, pushes: [(nil, nil)]),
        ]
        return samples
    }()
}

/// The same sequence for the same seed.
struct Dice: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}
