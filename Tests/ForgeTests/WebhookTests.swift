import Crypto
import Forge
import Foundation
import Testing

@Suite struct WebhookTests {
    @Test(arguments: Sample.all)
    func believesWhatIsGenuine(_ sample: Sample) throws {
        let body = Array(sample.body.utf8)
        let delivery = try #require(try Sender.all().judge(Sender.headers(of: sample.forge, event: sample.event, body: body), body).delivery)
        #expect(delivery.forge == sample.forge)
        #expect(delivery.id == (sample.forge == .generic ? nil : "d-1"))
        guard let pushes = sample.pushes else {
            #expect(delivery.event == .ignored(sample.ignored ?? sample.event))
            return
        }
        guard case .pushes(let notices) = delivery.event else {
            Issue.record("ignored: \(delivery.event)")
            return
        }
        #expect(notices.map(\.ref) == pushes.map(\.ref))
        #expect(notices.map(\.commit) == pushes.map(\.commit))
        for notice in notices {
            #expect(notice.provider == sample.forge.rawValue)
            #expect(notice.repositories.contains(sample.name))
        }
    }

    @Test(arguments: Sample.all)
    func refusesWhatIsForged(_ sample: Sample) throws {
        let body = Array(sample.body.utf8)
        let verifier = try Sender.all()
        let strange = Sender.headers(of: sample.forge, event: sample.event, body: body, secret: "another")
        #expect(verifier.judge(strange, body).refusal == .wrong)
        // Not parsed before: else it would be called unreadable.
        #expect(verifier.judge(strange, Array("{".utf8)).refusal == .wrong)
        if sample.forge != .gitlab {
            let genuine = Sender.headers(of: sample.forge, event: sample.event, body: body)
            #expect(verifier.judge(genuine, body + [0x20]).refusal == .wrong)
            #expect(verifier.judge(genuine, []).refusal == .wrong)
        }
    }

    @Test(arguments: ForgeKind.allCases)
    func takesTwoSecretsWhileOneIsChanged(_ forge: ForgeKind) throws {
        let verifier = try Sender.verifier([forge: ["old secret", "new secret"]])
        for (secret, isRight) in [("old secret", true), ("new secret", true), ("older secret", false), ("old secre", false), ("", false)] {
            let headers = Sender.headers(of: forge, event: "push", body: [0x7B, 0x7D], secret: secret)
            #expect((verifier.judge(headers, [0x7B, 0x7D]).refusal == nil) == isRight, "\(secret)")
        }
    }

    @Test func refusesEmptySecrets() {
        for forge in ForgeKind.allCases {
            for text in ["", "\n", " \t\r\n"] { #expect(throws: WebhookSecret.Mistake.empty) { try WebhookSecret(text.utf8, of: forge) } }
        }
        #expect(throws: WebhookSecret.Mistake.empty) { try WebhookSecret("whsec_".utf8, of: .gitlab) }
        #expect(throws: WebhookSecret.Mistake.unreadableSigningKey) { try WebhookSecret("whsec_?".utf8, of: .gitlab) }
    }

    @Test func printsNoSecret() throws {
        let secret = try WebhookSecret("hunter2hunter2".utf8, of: .github)
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped] { #expect(!text.contains("hunter2")) }
    }

    /// An unset secret makes some forges send these.
    @Test(arguments: ["", "sha256=", "sha256=00", "sha1=" + String(repeating: "0", count: 40), "sha256=" + String(repeating: "g", count: 64)])
    func refusesWhatIsNoSignature(_ text: String) throws {
        let verifier = try Sender.all()
        for name in ["X-Hub-Signature-256", "X-Hub-Signature", "X-Signature", "X-Gitea-Signature", "X-Forgejo-Signature", "webhook-signature"] {
            let refusal = try #require(verifier.judge([(name, text)], []).refusal)
            guard case .malformed = refusal else {
                Issue.record("\(name): \(refusal)")
                continue
            }
        }
        #expect(verifier.judge([("X-Gitlab-Token", "")], []).refusal != nil)
        #expect(verifier.judge([], []).refusal == .unsigned)
    }

    @Test func refusesAHeaderThatIsThereTwice() throws {
        let body = Array("{}".utf8)
        let genuine = Sender.headers(of: .github, event: "push", body: body)
        let refusal = try Sender.all().judge(genuine + [("x-hub-signature-256", "sha256=\(Sender.signature(body))")], body).refusal
        #expect(refusal == .malformed("the header x-hub-signature-256 is there twice"))
    }

    /// Gitea and Forgejo also send what GitHub sends. Under another name than the configured one they don't count.
    @Test func goesByTheForgesOwnHeader() throws {
        let body = Array(#"{"ref":"refs/heads/main"}"#.utf8)
        let gitea = Sender.headers(of: .gitea, event: "push", body: body)
        let forgejo = Sender.headers(of: .forgejo, event: "push", body: body)
        #expect(try Sender.verifier([.gitea: [Sender.secret]]).judge(gitea, body).delivery?.forge == .gitea)
        #expect(try Sender.verifier([.github: [Sender.secret]]).judge(gitea, body).refusal == .notConfigured(.gitea))
        #expect(try Sender.verifier([.github: [Sender.secret], .gitea: [Sender.secret]]).judge(forgejo, body).refusal == .notConfigured(.forgejo))
        let bitbucket = Sender.headers(of: .bitbucket, event: "repo:push", body: body)
        #expect(try Sender.verifier([.github: [Sender.secret]]).judge(bitbucket, body).refusal == .notConfigured(.bitbucket))
        // A right signature elsewhere does not help a wrong one in the header that counts.
        let mixed = forgejo.map { $0.name == "X-Forgejo-Signature" ? ($0.name, String(repeating: "0", count: 64)) : $0 }
        #expect(try Sender.all().judge(mixed, body).refusal == .wrong)
        #expect(try Sender.verifier([:]).judge(gitea, body).refusal == .notConfigured(.gitea))
    }

    /// The example in GitHub's documentation.
    @Test func agreesWithGitHub() throws {
        let headers: Fields = [
            ("X-GitHub-Event", "ping"),
            ("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        ]
        let verifier = try Sender.verifier([.github: ["It's a Secret to Everybody"]])
        #expect(verifier.judge(headers, Array("Hello, World!".utf8)).delivery?.event == .ignored("ping"))
    }

    @Test func readsForms() throws {
        let json = #"{"ref":"refs/heads/main","after":"\#(Sender.commit)","head_commit":{"message":"a b&c"}}"#
        let body = Array("payload=\(json.addingPercentEncoding(withAllowedCharacters: .alphanumerics)?.replacing("%20", with: "+") ?? "")".utf8)
        let headers = Sender.headers(of: .github, event: "push", body: body).map {
            $0.name == "Content-Type" ? ($0.name, "application/x-www-form-urlencoded; charset=utf-8") : $0
        }
        let notices = try Sender.all().judge(headers, body).notices
        #expect(notices == [PushNotice(provider: "github", repositories: [], ref: "refs/heads/main", commit: Sender.commit)])
    }

    @Test(arguments: ["", "[]", "null", "{", "\u{0}", "{\"ref\":\"refs/heads/main\"", String(repeating: "[", count: 100_000)])
    func callsAGenuineBodyUnreadable(_ text: String) throws {
        let body = Array(text.utf8)
        let refusal = try Sender.all().judge(Sender.headers(of: .github, event: "push", body: body), body).refusal
        #expect(refusal == .unreadable("its body is no JSON object"))
    }

    /// Payloads as the forges publish them, where they are on this machine; our own samples have the same fields.
    @Test func readsPublishedPayloads() throws {
        let given = ProcessInfo.processInfo.environment["PLUMB_FORGE_DESCRIPTIONS"]
        let beside = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../shared/forges").standardized.path
        let verifier = try Sender.all()
        for forge in ForgeKind.allCases {
            let folder = "\(given ?? beside)/\(forge.rawValue)/payloads"
            for file in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
                guard let event = event(of: file, forge), let data = FileManager.default.contents(atPath: "\(folder)/\(file)") else { continue }
                let body = Array(data)
                let notices = try #require(verifier.judge(Sender.headers(of: forge, event: event, body: body), body).notices, "\(file)")
                for notice in notices {
                    #expect(notice.ref?.hasPrefix("refs/") == true, "\(file)")
                    #expect(notice.repositories.contains { $0.contains("/") }, "\(file)")
                }
                #expect(!notices.isEmpty, "\(file)")
            }
        }
    }

    private func event(of file: String, _ forge: ForgeKind) -> String? {
        switch forge {
        case .github, .gitea, .forgejo: file.hasPrefix("push.") ? "push" : nil
        case .gitlab: file.hasPrefix("push.") ? "Push Hook" : file.hasPrefix("tag_push.") ? "Tag Push Hook" : nil
        case .bitbucket: file.hasPrefix("repo-push.") ? "repo:push" : file.hasPrefix("repo-refs_changed.") ? "repo:refs_changed" : nil
        case .generic: nil
        }
    }
}

@Suite struct GitLabSignatureTests {
    // The example of the Standard Webhooks libraries.
    static let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    static let time: Int64 = 1_614_265_330
    static let body = Array(#"{"test": 2432232314}"#.utf8)
    static let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    private func headers(_ signature: String = Self.signature, time: Int64 = Self.time, token: String? = nil) -> Fields {
        let signed: Fields = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"), ("webhook-timestamp", "\(time)"), ("webhook-signature", signature),
            ("X-Gitlab-Event", "Job Hook"),
        ]
        return signed + (token.map { [("X-Gitlab-Token", $0)] } ?? [])
    }

    @Test func agreesWithStandardWebhooks() throws {
        let verifier = try Sender.verifier([.gitlab: [Self.key]], tokensCount: false)
        let delivery = verifier.judge(headers(), Self.body, at: Self.time).delivery
        #expect(delivery?.id == "msg_p5jXN8AQM9LWM0D4loKWxJek")
        #expect(delivery?.event == .ignored("Job Hook"))
    }

    @Test func takesAKeyWithoutPadding() throws {
        let verifier = try Sender.verifier([.gitlab: ["whsec_AAAAAAAAAA"]])
        let body = Array("{}".utf8)
        let code = HMAC<SHA256>.authenticationCode(for: Array("1.\(Sender.now).{}".utf8), using: SymmetricKey(data: [UInt8](repeating: 0, count: 7)))
        let headers: Fields = [
            ("webhook-id", "1"), ("webhook-timestamp", "\(Sender.now)"), ("webhook-signature", "v1,\(Data(code).base64EncodedString())"),
        ]
        #expect(verifier.judge(headers, body).refusal == nil)
    }

    @Test(arguments: [(-301, false), (-300, true), (300, true), (301, false)])
    func countsForFiveMinutes(_ offset: Int64, _ counts: Bool) throws {
        let verifier = try Sender.verifier([.gitlab: [Self.key]])
        #expect(verifier.judge(headers(), Self.body, at: Self.time + offset).refusal == (counts ? nil : .outOfTime))
    }

    @Test func signsIDAndTime() throws {
        let verifier = try Sender.verifier([.gitlab: [Self.key]])
        #expect(verifier.judge(headers(time: Self.time + 1), Self.body, at: Self.time).refusal == .wrong)
        let renamed = headers().map { $0.name == "webhook-id" ? ($0.name, "msg_2") : $0 }
        #expect(verifier.judge(renamed, Self.body, at: Self.time).refusal == .wrong)
        #expect(verifier.judge(headers(), Self.body + [0x20], at: Self.time).refusal == .wrong)
    }

    @Test func takesAnyOfSeveralSignatures() throws {
        let verifier = try Sender.verifier([.gitlab: ["whsec_AAAA", Self.key]])
        let wrong = "v1,\(Data(repeating: 7, count: 32).base64EncodedString())"
        #expect(verifier.judge(headers("v1a,xyz \(wrong) \(Self.signature)"), Self.body, at: Self.time).refusal == nil)
        #expect(verifier.judge(headers("\(wrong) \(wrong)"), Self.body, at: Self.time).refusal == .wrong)
        for text in ["v1a,xyz", "v1,", "", Array(repeating: wrong, count: 9).joined(separator: " ")] {
            #expect(verifier.judge(headers(text), Self.body, at: Self.time).refusal == .malformed("its signature is none of Standard Webhooks"))
        }
    }

    /// A token does not make up for a signature that is wrong; it counts where no signing key is known yet.
    @Test func prefersSignaturesToTokens() throws {
        let wrong = headers("v1,\(Data(repeating: 7, count: 32).base64EncodedString())", token: "token")
        #expect(try Sender.verifier([.gitlab: [Self.key, "token"]]).judge(wrong, Self.body, at: Self.time).refusal == .wrong)
        #expect(try Sender.verifier([.gitlab: ["token"]]).judge(wrong, Self.body, at: Self.time).refusal == nil)
        #expect(try Sender.verifier([.gitlab: [Self.key]]).judge([("X-Gitlab-Token", Self.key)], Self.body).refusal == .wrong)
    }

    @Test func takesNoTokenThatOthersCouldRead() throws {
        let verifier = try Sender.verifier([.gitlab: ["token"]], tokensCount: false)
        #expect(verifier.judge([("X-Gitlab-Token", "token")], Self.body).refusal == .tokenInTheClear)
        // And says no more to who guesses.
        #expect(verifier.judge([("X-Gitlab-Token", "guess")], Self.body).refusal == .tokenInTheClear)
    }
}

/// Bytes at random, from a seed that is printed with a failure.
@Suite struct WebhookFuzzTests {
    private static let names = [
        "X-Hub-Signature-256", "X-Hub-Signature", "X-Signature", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gitlab-Token", "webhook-id",
        "webhook-timestamp", "webhook-signature", "X-GitHub-Event", "X-Gitlab-Event", "X-Event-Key", "X-Gitea-Event", "Content-Type",
    ]

    @Test(arguments: 0..<8) func nothingRandomIsBelieved(_ seed: UInt64) throws {
        var dice = Dice(seed)
        let verifier = try Sender.all()
        for round in 0..<300 {
            let body = dice.bytes(Int.random(in: 0...64, using: &dice))
            var headers: Fields = []
            for name in Self.names where Bool.random(using: &dice) {
                let hex = dice.bytes(32).map { String(format: "%02x", $0) }.joined()
                let base64 = Data(dice.bytes(32)).base64EncodedString()
                let texts = [
                    "sha256=\(hex)", hex, "v1,\(base64)", "push", "Push Hook", "\(Sender.now)", String(decoding: dice.bytes(20), as: UTF8.self), "",
                ]
                headers.append((name, texts[Int.random(in: 0..<texts.count, using: &dice)]))
            }
            #expect(verifier.judge(headers, body).refusal != nil, "round \(round): \(headers) \(body)")
        }
    }

    @Test(arguments: 0..<4) func noChangeOfAGenuineOneIsBelieved(_ seed: UInt64) throws {
        var dice = Dice(seed)
        let verifier = try Sender.all()
        for sample in Sample.all where sample.forge != .gitlab {
            let body = Array(sample.body.utf8)
            let headers = Sender.headers(of: sample.forge, event: sample.event, body: body)
            for _ in 0..<50 {
                var changed = body
                let index = Int.random(in: 0..<body.count, using: &dice)
                changed[index] ^= UInt8.random(in: 1...255, using: &dice)
                #expect(verifier.judge(headers, changed).refusal == .wrong, "\(sample.testDescription): byte \(index)")
                #expect(verifier.judge(headers, Array(body.prefix(index))).refusal == .wrong, "\(sample.testDescription): cut at \(index)")
            }
        }
    }

    /// With the right signature on it, whatever is in it is read without harm.
    @Test(arguments: 0..<4) func readsAnything(_ seed: UInt64) throws {
        var dice = Dice(seed)
        let verifier = try Sender.all()
        for sample in Sample.all {
            for _ in 0..<50 {
                var body = Array(sample.body.utf8)
                for _ in 0..<Int.random(in: 1...6, using: &dice) {
                    let index = Int.random(in: 0..<body.count, using: &dice)
                    // Among them what changes types: quotes, brackets, digits.
                    body[index] = Array("\"[]{}:,0nulltrue\\u\u{0}".utf8).randomElement(using: &dice) ?? 0
                }
                let result = verifier.judge(Sender.headers(of: sample.forge, event: sample.event, body: body), body)
                for notice in result.notices ?? [] {
                    #expect(notice.ref.map { $0.hasPrefix("refs/") } ?? true)
                    #expect(notice.commit.map { $0.count == 40 || $0.count == 64 } ?? true)
                }
                #expect(result.refusal != .wrong)
            }
        }
    }
}
