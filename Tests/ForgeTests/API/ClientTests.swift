import CryptoExtras
import Foundation
import Synchronization
import Testing
import Values

@testable import Forge

/// A forge and a client of it.
struct Pair: Sendable {
    let double: ForgeDouble
    let client: ForgeClient

    static let marker = ReportMarker.report(site: "home")
    static let drift = ReportMarker.drift(site: "home")

    static func options(_ change: (inout ForgeClient.Options) -> Void = { _ in }) -> ForgeClient.Options {
        var options = ForgeClient.Options(site: "home")
        options.firstDelay = .milliseconds(1)
        options.timeout = .seconds(20)
        options.writesPerMinute = 100_000
        change(&options)
        return options
    }

    static func client(
        of double: ForgeDouble,
        url: String? = nil,
        repository: String = ForgeDouble.repository,
        credentials: ForgeCredentials? = nil,
        _ options: ForgeClient.Options = options()
    ) throws -> ForgeClient {
        let credentials = try credentials ?? .token(variable: "T", environment: ["T": double.change { $0.token }])
        return try ForgeClient(double.service, url: url ?? double.url, repository: repository, credentials: credentials, options: options)
    }

    /// - Parameter body: every request that it leads to is held to the description at its end.
    static func with(
        _ service: ForgeService,
        _ options: ForgeClient.Options = options(),
        _ body: (Pair) async throws -> Void
    ) async throws {
        let double = try await ForgeDouble(service)
        let client = try client(of: double, options)
        do {
            try await body(Pair(double: double, client: client))
        } catch {
            Issue.record(error)
        }
        #expect(double.complaints == [])
        await client.close()
        await double.close()
    }

    /// The failure of a call that must not succeed.
    static func failure(of body: () async throws(ForgeFailure) -> Published) async -> ForgeFailure? {
        do throws(ForgeFailure) {
            let outcome = try await body()
            Issue.record("succeeded: \(outcome)")
            return nil
        } catch {
            return error
        }
    }
}

@Suite struct ForgeReportTests {
    @Test(arguments: ForgeService.allCases)
    func keepsOneComment(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            #expect(try await pair.client.publish(comment: "one \(ReportMarker.time("12:00"))", on: 3) == .created)
            let mine = try #require(pair.double.comments.first)
            #expect(mine.body.hasPrefix("\(Pair.marker)\none"))
            // Known, and nothing new: no request at all.
            _ = pair.double.takeAsked()
            #expect(try await pair.client.publish(comment: "one \(ReportMarker.time("13:00"))", on: 3) == .unchanged)
            #expect(pair.double.takeAsked() == [])
            #expect(try await pair.client.publish(comment: "two", on: 3) == .updated)
            #expect(pair.double.takeAsked().count == 1)
            // Another process finds it.
            let other = try Pair.client(of: pair.double)
            #expect(try await other.publish(comment: "two", on: 3) == .unchanged)
            #expect(try await other.publish(comment: "three", on: 3) == .updated)
            await other.close()
            #expect(pair.double.comments == [ForgeDouble.Text(id: mine.id, login: "plumb-bot", body: "\(Pair.marker)\nthree")])
            // Somebody deletes it: it comes again.
            pair.double.change { $0.comments = [] }
            #expect(try await pair.client.publish(comment: "four", on: 3) == .created)
            #expect(pair.double.comments.count == 1)
        }
    }

    /// With everything known, a report is one request, and its status another.
    @Test(arguments: ForgeService.allCases)
    func takesTwoRequests(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            _ = try await pair.client.publish(comment: "one", on: 3)
            _ = pair.double.takeAsked()
            _ = try await pair.client.publish(comment: "two", on: 3)
            _ = try await pair.client.setStatus(ReportStatus(.success, "no changes"), on: Sender.commit)
            #expect(pair.double.takeAsked().count == 2)
        }
    }

    /// Looked for while it is planned, the first report is two requests as well.
    @Test(arguments: ForgeService.allCases)
    func whatWasLookedForIsNotLookedForAgain(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            await pair.client.lookForComment(on: 3)
            await pair.client.lookForComment(on: 3)
            _ = pair.double.takeAsked()
            #expect(try await pair.client.publish(comment: "one", on: 3) == .created)
            _ = try await pair.client.setStatus(ReportStatus(.success, "no changes"), on: Sender.commit)
            #expect(pair.double.takeAsked().count == 2)
            // One that is there already is found, and what it says is known.
            let other = try Pair.client(of: pair.double)
            await other.lookForComment(on: 3)
            _ = pair.double.takeAsked()
            #expect(try await other.publish(comment: "one", on: 3) == .unchanged)
            #expect(pair.double.takeAsked() == [])
            #expect(try await other.publish(comment: "two", on: 3) == .updated)
            await other.close()
            // Whether a creation whose answer was lost is through is seen in the list, and not believed.
            pair.double.change { $0.comments = [] }
            await pair.client.lookForComment(on: 4)
            pair.double.change { $0.faults = [.cut(done: true)] }
            #expect(try await pair.client.publish(comment: "one", on: 4) == .unchanged)
            #expect(pair.double.comments.count == 1)
        }
    }

    /// Ours is on the last of many pages, among others that look like it.
    @Test(arguments: ForgeService.allCases)
    func takesOnlyItsOwn(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            var comments = (1...40).map { ForgeDouble.Text(id: $0, login: "person\($0)", body: "\(Pair.marker)\nfake") }
            comments.append(ForgeDouble.Text(id: 41, login: "plumb-bot", body: "> \(Pair.marker)\nquoted"))
            comments.append(ForgeDouble.Text(id: 42, login: "plumb-bot", body: "\(ReportMarker.report(site: "office"))\nother site"))
            if service == .gitlab { comments.append(ForgeDouble.Text(id: 43, login: "plumb-bot", body: "\(Pair.marker) changed", isSystem: true)) }
            comments.append(ForgeDouble.Text(id: 44, login: "Plumb-Bot", body: "\(Pair.marker)\nold"))
            pair.double.change {
                $0.comments = comments
                $0.largestPage = 7
                $0.login = "Plumb-Bot"
            }
            #expect(try await pair.client.publish(comment: "new", on: 3) == .updated)
            comments[comments.count - 1].body = "\(Pair.marker)\nnew"
            #expect(pair.double.comments == comments)
            if service == .github || service == .gitlab { #expect(pair.double.asked.count == 1 + 7 + 1) }
        }
    }

    /// Two of us looked at the same time, once.
    @Test(arguments: ForgeService.allCases)
    func cleansUpBehindARace(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            pair.double.change { world in
                world.comments = [30, 10, 20].map { ForgeDouble.Text(id: $0, login: world.login, body: "\(Pair.marker)\n\($0)") }
            }
            #expect(try await pair.client.publish(comment: "10", on: 3) == .unchanged)
            #expect(pair.double.comments.map(\.id) == [10])
        }
    }

    @Test func looksOnceForManyAtATime() async throws {
        try await Pair.with(.gitea) { pair async throws in
            let client = pair.client
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 { group.addTask { _ = try await client.publish(comment: "text \(number % 2)", on: 3) } }
                try await group.waitForAll()
            }
            #expect(pair.double.comments.count == 1)
            #expect(pair.double.asked.count { $0.method == "GET" } == 2)
        }
    }

    @Test(arguments: ForgeService.allCases)
    func fitsWhatItSends(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            let room = pair.client.textLimit
            #expect(try await pair.client.publish(comment: String(repeating: "x", count: room), on: 3) == .created)
            let failure = await Pair.failure { () throws(ForgeFailure) in
                try await pair.client.publish(comment: String(repeating: "x", count: room + 20), on: 3)
            }
            #expect(failure?.cause == .invalid)
            // No database takes it.
            #expect(try await pair.client.publish(comment: "a\u{0}b", on: 3) == .updated)
            #expect(pair.double.comments.first?.body == "\(Pair.marker)\na\u{FFFD}b")
        }
    }

    @Test(arguments: ForgeService.allCases)
    func showsAStatusOnce(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            let long = ReportStatus(.failure, String(repeating: "é", count: 300), link: "https://x/\(String(repeating: "y", count: 300))")
            for (status, outcome) in [(ReportStatus(.pending, "planning"), Published.created), (long, .created), (long, .unchanged)] {
                #expect(try await pair.client.setStatus(status, on: Sender.commit) == outcome)
            }
            #expect(try await pair.client.setStatus(long, on: Sender.other) == .created)
            #expect(pair.double.change { $0.statuses.count } == 3)
            #expect(pair.double.change { $0.statuses.first?["context"] } == "plumb/plan")
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.setStatus(long, on: "main") }
            #expect(failure?.cause == .invalid)
        }
    }

    @Test(arguments: ForgeService.allCases)
    func asksWhatIsShownAlready(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            let link = "https://x/\(String(repeating: "y", count: 3000))"
            let (good, bad) = (
                ReportStatus(.success, String(repeating: "é", count: 300), link: link), ReportStatus(.failure, "1 mistake in the specs")
            )
            let other = ReportStatus(.failure, good.description, context: "another/tool")
            for status in [bad, good, other] { _ = try await pair.client.setStatus(status, on: Sender.commit) }
            // As after a restart.
            func fresh(_ status: ReportStatus, on commit: String = Sender.commit) async throws -> Published {
                let client = try Pair.client(of: pair.double, Pair.options { _ in })
                do throws(ForgeFailure) {
                    let outcome = try await client.setStatus(status, on: commit, asksFirst: true)
                    await client.close()
                    return outcome
                } catch {
                    await client.close()
                    throw error
                }
            }
            #expect(try await fresh(good) == .unchanged)
            #expect(try await fresh(other) == .unchanged)
            #expect(pair.double.change { $0.statuses.count } == 3)
            // The one before the last is not shown any more.
            #expect(try await fresh(bad) == .created)
            #expect(try await fresh(good, on: Sender.other) == .created)
            // Who may not ask writes.
            pair.double.change { $0.standing = { $0.method == "GET" ? .answer(403) : nil } }
            #expect(try await fresh(bad) == .created)
            pair.double.change { $0.standing = { $0.method == "GET" ? .answer(500) : nil } }
            let failure = await Pair.failure { () throws(ForgeFailure) in
                do { return try await fresh(good) } catch { throw error as? ForgeFailure ?? ForgeFailure(.invalid, "\(error)") }
            }
            #expect(failure?.cause == .unavailable)
            #expect(pair.double.change { $0.statuses.count } == 6)
        }
    }

    /// GitLab's answer where a status is what it shall be.
    @Test func takesGitLabsWord() async throws {
        try await Pair.with(.gitlab) { pair async throws in
            let text = #"{"message":"Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}"#
            pair.double.change { $0.faults = [.answer(400, text)] }
            #expect(try await pair.client.setStatus(ReportStatus(.pending, "planning"), on: Sender.commit) == .unchanged)
            pair.double.change { $0.faults = [.answer(400, #"{"message":"400 Bad request"}"#)] }
            let failure = await Pair.failure { () throws(ForgeFailure) in
                try await pair.client.setStatus(ReportStatus(.success, "x"), on: Sender.commit)
            }
            #expect(failure?.cause == .invalid)
        }
    }

    @Test(arguments: ForgeService.allCases)
    func keepsOneIssue(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            pair.double.change { world in
                world.largestPage = 3
                world.issues = (1...8).map { ForgeDouble.Text(id: $0, login: "person", title: "t", body: "\(Pair.drift)\nfake") }
                world.issues += (11...17).map { ForgeDouble.Text(id: $0, login: world.login, title: "t", body: "another of ours") }
            }
            let others = pair.double.issues
            func issue(_ opens: Bool, _ text: String) async throws -> Published {
                try await pair.client.driftIssue(opens: opens, title: "Drift\nat home", text: text)
            }
            #expect(try await issue(false, "fine") == .none)
            #expect(pair.double.issues == others)
            #expect(try await issue(true, "one \(ReportMarker.time("1"))") == .created)
            #expect(try await issue(true, "one \(ReportMarker.time("2"))") == .unchanged)
            #expect(try await issue(true, "two") == .updated)
            #expect(try await issue(false, "fine") == .closed)
            #expect(try await issue(false, "fine") == .none)
            #expect(try await issue(true, "three") == .reopened)
            #expect(Array(pair.double.issues.dropLast()) == others)
            let mine = try #require(pair.double.issues.last)
            #expect(mine.body == "\(Pair.drift)\nthree" && mine.isOpen && mine.title == "Drift·at home")
            // Made twice, once.
            pair.double.change { $0.issues.append(ForgeDouble.Text(id: 5000, login: $0.login, title: mine.title, body: mine.body)) }
            #expect(try await issue(true, "three") == .unchanged)
            #expect(pair.double.issues.count { $0.isOpen && $0.body.hasPrefix(Pair.drift) && $0.login == "plumb-bot" } == 1)
        }
    }
}

@Suite struct ForgePullRequestTests {
    private static let gitHub: Value = [
        "number": 3, "state": "open", "user": ["login": "octo[bot]", "id": 5, "type": "Bot"],
        "head": ["sha": .string(Sender.commit), "ref": "feature", "repo": ["id": 1, "private": true]],
        "base": ["sha": .string(Sender.other), "ref": "main", "repo": ["id": 1, "private": true]],
    ]
    private static let gitLab: Value = [
        "iid": 3, "state": "opened", "author": ["id": 5, "username": "octo"], "sha": .string(Sender.commit), "source_branch": "feature",
        "target_branch": "main", "source_project_id": 1, "target_project_id": 1, "diff_refs": ["start_sha": .string(Sender.other)],
    ]

    private static func value(_ service: ForgeService) -> Value { service == .gitlab ? gitLab : gitHub }

    @Test(arguments: ForgeService.allCases)
    func readsWhatDecides(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            let author = service == .gitlab ? "octo" : "octo[bot]"
            pair.double.change {
                $0.pullRequest = Self.value(service)
                $0.permissions = [service == .gitlab ? "5" : author: service == .gitlab ? "30" : "write"]
            }
            let expected = PullRequest(
                number: 3,
                author: author,
                authorMayWrite: true,
                isFork: false,
                headCommit: Sender.commit,
                headRef: "feature",
                baseRef: "main",
                baseCommit: Sender.other,
                isPublic: false,
                isOpen: true
            )
            #expect(try await pair.client.pullRequest(3) == expected)
            // Who may only read, and who is not known.
            pair.double.change { $0.permissions = [service == .gitlab ? "5" : author: service == .gitlab ? "20" : "read"] }
            #expect(try await pair.client.pullRequest(3).authorMayWrite == false)
            pair.double.change { $0.permissions = [:] }
            #expect(try await pair.client.pullRequest(3).authorMayWrite == false)
            // The token is not allowed to ask.
            pair.double.change { $0.standing = { $0.target.contains("/members/") || $0.target.contains("/permission") ? .answer(403) : nil } }
            #expect(try await pair.client.pullRequest(3).authorMayWrite == false)
            // An answer that is not there says nothing, and is no stranger.
            pair.double.change { $0.standing = { $0.target.contains("/members/") || $0.target.contains("/permission") ? .answer(500) : nil } }
            let failure = await Pair.failure { () throws(ForgeFailure) in
                _ = try await pair.client.pullRequest(3)
                return .none
            }
            #expect(failure?.cause == .unavailable)
        }
    }

    @Test(arguments: ForgeService.allCases)
    func knowsWhoCanReadIt(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            #expect(try await pair.client.isPublicRepository() == false)
            pair.double.change { $0.visibility = "public" }
            #expect(try await pair.client.isPublicRepository())
            // What says nothing is public.
            pair.double.change { $0.faults = [.body("{}")] }
            #expect(try await pair.client.isPublicRepository())
            pair.double.change { $0.visibility = "private" }
            pair.double.change { $0.standing = { _ in .answer(500) } }
            let failure = await Pair.failure { () throws(ForgeFailure) in
                _ = try await pair.client.isPublicRepository()
                return .none
            }
            #expect(failure?.cause == .unavailable)
        }
    }

    /// What is missing counts as what is more dangerous.
    @Test func expectsTheWorst() throws {
        func read(_ service: ForgeService, _ change: (inout Value) -> Void) throws -> PullRequest? {
            var value = Self.value(service)
            change(&value)
            let project: Value? = service == .gitlab ? ["visibility": "private"] : nil
            return try ForgeAPI(service, repository: "o/r").pullRequest(value, number: 3, project: project)?.0
        }
        #expect(try read(.github) { $0["head"]?["repo"] = .null }?.isFork == true)
        #expect(try read(.github) { $0["head"]?["repo"] = ["id": 2] }?.isFork == true)
        #expect(try read(.github) { $0["base"]?["repo"] = ["id": 1] }?.isPublic == true)
        for (visibility, isPublic) in [("private", false), ("internal", true), ("public", true)] {
            let repository: Value = ["id": 1, "private": .bool(visibility != "public"), "visibility": .string(visibility)]
            #expect(try read(.github) { $0["base"]?["repo"] = repository }?.isPublic == isPublic)
        }
        #expect(try read(.github) { $0["state"] = "closed" }?.isOpen == false)
        #expect(try read(.github) { $0["user"] = .null }?.author == nil)
        #expect(try read(.github) { $0["head"]?["sha"] = "HEAD" } == nil)
        #expect(try read(.github) { $0["base"] = .null } == nil)
        for service in [ForgeService.gitea, .forgejo] {
            #expect(try read(service) { $0["head"] = ["sha": .string(Sender.commit), "repo_id": 0, "repo": .null] }?.isFork == true)
            #expect(
                try read(service) {
                    $0["head"] = ["sha": .string(Sender.commit), "repo_id": 0]
                    $0["base"] = ["ref": "main", "repo_id": 0]
                }?.isFork == true
            )
            #expect(
                try read(service) {
                    $0["head"] = ["sha": .string(Sender.commit), "repo_id": 4]
                    $0["base"] = ["ref": "main", "repo_id": 4]
                }?.isFork == false
            )
        }
        #expect(try read(.gitlab) { $0["source_project_id"] = .null }?.isFork == true)
        #expect(try read(.gitlab) { $0["source_project_id"] = 2 }?.isFork == true)
        #expect(try read(.gitlab) { $0["state"] = "merged" }?.isOpen == false)
        #expect(try read(.gitlab) { $0["sha"] = .null } == nil)
        let api = try ForgeAPI(.gitlab, repository: "o/r")
        for (visibility, isPublic) in [("public", true), ("internal", true), ("private", false)] {
            #expect(api.pullRequest(Self.gitLab, number: 3, project: ["visibility": .string(visibility)])?.0.isPublic == isPublic)
        }
        #expect(api.pullRequest(Self.gitLab, number: 3, project: nil)?.0.isPublic == true)
        #expect(api.mayWrite(["access_level": 40, "state": "blocked"]) == false)
        let github = try ForgeAPI(.github, repository: "o/r")
        for (permission, may) in [("admin", true), ("write", true), ("read", false), ("none", false), ("triage", false)] {
            #expect(github.mayWrite(["permission": .string(permission)]) == may)
        }
    }

    @Test(arguments: ForgeService.allCases)
    func listsThoseOfABase(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            pair.double.change { world in
                world.largestPage = 3
                world.pullRequest = .array(
                    (1...8 as ClosedRange<Int64>).map { number in
                        var value = Self.value(service)
                        value[service == .gitlab ? "iid" : "number"] = .int(number)
                        if number == 4 {
                            if service == .gitlab { value["target_branch"] = "other" } else { value["base"]?["ref"] = "other" }
                        }
                        return value
                    }
                )
                world.permissions = [service == .gitlab ? "5" : "octo[bot]": service == .gitlab ? "30" : "write"]
            }
            let found = try await pair.client.openRequests(base: "main")
            #expect(found.map(\.number) == [1, 2, 3, 5, 6, 7, 8])
            #expect(found.allSatisfy { $0.authorMayWrite && !$0.isFork && $0.isOpen && !$0.isPublic && $0.headCommit == Sender.commit })
            // Who may write is asked once an author.
            let asked = pair.double.takeAsked()
            #expect(asked.count { $0.contains("/members/") || $0.contains("/permission") } == 1, "\(asked)")
            _ = try await pair.client.openRequests(base: "main")
            let again = pair.double.takeAsked()
            #expect(again.allSatisfy { !$0.contains("/members/") && !$0.contains("/permission") }, "\(again)")
        }
    }

    @Test func saysWhereTheHeadIs() {
        #expect(ForgeService.github.headRef(ofPullRequest: 3) == "refs/pull/3/head")
        #expect(ForgeService.gitlab.headRef(ofPullRequest: 3) == "refs/merge-requests/3/head")
    }
}

@Suite struct GitHubAppTests {
    private func withApp(
        installation: Int64? = nil,
        lifetime: Double = 3600,
        _ body: (ForgeDouble, ForgeClient) async throws -> Void
    ) async throws {
        let file = "\(NSTemporaryDirectory())plumb-app-\(UInt64.random(in: 0...UInt64.max)).pem"
        try _RSA.Signing.PrivateKey(keySize: .bits2048).pemRepresentation.write(toFile: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: file) }
        let double = try await ForgeDouble(.github)
        double.change {
            $0.login = "plumb-app[bot]"
            $0.isBot = true
            $0.tokenLifetime = lifetime
        }
        let client = try Pair.client(of: double, credentials: .app(id: "1", installation: installation, keyFile: file))
        try await body(double, client)
        #expect(double.complaints == [])
        await client.close()
        await double.close()
    }

    @Test func asksForATokenOnce() async throws {
        try await withApp { double, client async throws in
            double.change { $0.comments = [ForgeDouble.Text(id: 9, login: "plumb-app[bot]", isBot: true, body: "\(Pair.marker)\nold")] }
            #expect(try await client.publish(comment: "new", on: 3) == .updated)
            #expect(try await client.publish(comment: "newer", on: 3) == .updated)
            #expect(double.change { $0.tokensMade } == 1)
            let made = double.asked.first { $0.target.contains("access_tokens") }
            #expect(made?.target == "/app/installations/42/access_tokens")
            #expect(made?.body == ["repositories": ["specs"]])
            #expect(made?.authorization.hasPrefix("Bearer ey") == true)
            // Revoked: another one.
            double.change { $0.token = "revoked" }
            #expect(try await client.publish(comment: "newest", on: 3) == .updated)
            #expect(double.change { $0.tokensMade } == 2)
        }
    }

    @Test func takesANewTokenBeforeTheOldOneEnds() async throws {
        try await withApp(installation: 7, lifetime: 299) { double, client async throws in
            _ = try await client.setStatus(ReportStatus(.success, "a"), on: Sender.commit)
            _ = try await client.setStatus(ReportStatus(.success, "b"), on: Sender.commit)
            #expect(double.change { $0.tokensMade } == 2)
            #expect(double.asked.allSatisfy { !$0.target.hasSuffix("/installation") })
        }
    }

    @Test(arguments: [0, 1, 50, 51, 130])
    func marksLines(_ count: Int) async throws {
        try await withApp { double, client async throws in
            let annotations = (0..<count).map { ReportCheck.Annotation(path: "state/a.yaml", line: $0, message: "mistake \($0)") }
            let check = ReportCheck(title: "Specs", summary: "\(count) mistakes", isFailure: count > 0, annotations: annotations)
            #expect(try await client.publish(check, on: Sender.commit) == .created)
            #expect(try await client.publish(check, on: Sender.commit) == .unchanged)
            let checks = double.change { $0.checks.map(\.annotations.count) }
            #expect(checks == [count])
            #expect(double.change { $0.checks.first?.annotations.first?["start_line"] } == (count > 0 ? 1 : nil))
        }
    }

    /// Lost between the pages: none is shown twice, none is missing.
    @Test(arguments: [ForgeDouble.Fault.doneBut(502), .cut(done: true), .cut(done: false), .half(done: true)])
    func marksLinesOnce(_ fault: ForgeDouble.Fault) async throws {
        try await withApp(installation: 7) { double, client async throws in
            let lost = Mutex(Set<String>())
            double.change { world in
                world.standing = { asked in
                    guard asked.method != "GET", asked.target.contains("check-runs") else { return nil }
                    return lost.withLock { $0.insert(asked.method).inserted } ? fault : nil
                }
            }
            let annotations = (1...120).map { ReportCheck.Annotation(path: "a.yaml", line: $0, message: "m") }
            let check = ReportCheck(title: "Specs", summary: "s", isFailure: true, annotations: annotations)
            _ = try await client.publish(check, on: Sender.commit)
            let lines = double.change { $0.checks.map { $0.annotations.compactMap { $0["start_line"]?.intValue } } }
            #expect(lines == [Array(1...120)])
        }
    }

    @Test func othersHaveNoChecks() async throws {
        for service in ForgeService.allCases {
            try await Pair.with(service) { pair async throws in
                let check = ReportCheck(title: "Specs", summary: "s", isFailure: true, annotations: [])
                #expect(try await pair.client.publish(check, on: Sender.commit) == .unsupported)
                #expect(pair.double.asked.isEmpty)
            }
        }
    }

    /// The token of GitHub Actions is one of an installation, and no user's.
    @Test func takesWhatABotWroteWhereItMayNotAsk() async throws {
        try await Pair.with(.github) { pair async throws in
            pair.double.change {
                $0.hidesUser = true
                $0.login = "github-actions[bot]"
                $0.isBot = true
                $0.comments = [ForgeDouble.Text(id: 1, login: "person", body: "\(Pair.marker)\nfake")]
            }
            #expect(try await pair.client.publish(comment: "a", on: 3) == .created)
            let other = try Pair.client(of: pair.double)
            #expect(try await other.publish(comment: "b", on: 3) == .updated)
            await other.close()
            #expect(pair.double.comments.map(\.body) == ["\(Pair.marker)\nfake", "\(Pair.marker)\nb"])
        }
    }
}
