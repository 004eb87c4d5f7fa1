import Foundation
import Planning
import ResourceModel
import Testing
import Values

@testable import Reporting

/// A pull request's report in every form it has, against files (`PLUMB_RECORD=1` writes them anew), and with text that wants out of it.
struct PullRequestReportTests {
    @Test(arguments: [
        "pull-request.md", "pull-request.json", "pull-request-stranger.md", "pull-request-stranger.json", "pull-request-hidden.md",
        "pull-request-invalid.md", "pull-request-nothing.md", "pull-request-cut.md",
    ])
    func isAsTheFileSays(name: String) throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/\(name)")
        let said = text(name)
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" { try said.write(to: file, atomically: true, encoding: .utf8) }
        #expect(said == (try String(contentsOf: file, encoding: .utf8)))
        #expect(!said.unicodeScalars.contains { $0 != "\n" && Escaping.isActive($0) })
        #expect(!said.contains("hunter2"))
    }

    private func text(_ name: String) -> String {
        switch name {
        case "pull-request.md": return Sample.report().markdown(site: "state")
        case "pull-request.json": return Sample.report().document.prettyJSON
        case "pull-request-stranger.md": return Sample.report(.init(isForStranger: true)).markdown(site: "state")
        case "pull-request-stranger.json": return Sample.report(.init(isForStranger: true, hidesValues: true)).document.prettyJSON
        case "pull-request-hidden.md": return Sample.report(.init(hidesValues: true)).markdown(site: "state")
        case "pull-request-invalid.md": return Sample.invalid.markdown(site: "state")
        case "pull-request-nothing.md":
            var report = Sample.report()
            (report.changes, report.drifted, report.ended, report.problems, report.targets, report.notes) = ([], [], [], [], [], [])
            return report.markdown()
        default:
            // Each of its own, so that none share a group.
            var report = Sample.report()
            report.changes = (0..<40).map { number in
                var change = report.changes[number % report.changes.count]
                change.address.target = "pi-\(number)"
                change.address.resource += "-\(number)"
                return change
            }
            return report.markdown(site: "state", budget: 4096)
        }
    }

    // MARK: What counts most

    @Test func whatMayCutTheConnectionComesFirst() throws {
        let text = Sample.report().markdown()
        let changes = try #require(text.ranges(of: "#### This pull request changes").first).upperBound
        let first = try #require(text[changes...].ranges(of: "<summary>").first).upperBound
        #expect(text[first...].hasPrefix("<code>pi-3</code>: 2 changes, <b>1 disconnecting</b>"))
        #expect(
            text[first...].ranges(of: "- **disconnecting** update").first.map { $0.lowerBound < text[first...].ranges(of: "- delete")[0].lowerBound }
                == true
        )
    }

    @Test func changesAndDriftStandUnderTheirOwnHeadings() throws {
        let text = Sample.report().markdown()
        let sections = text.components(separatedBy: "\n#### ")
        let changes = try #require(sections.first { $0.hasPrefix("This pull request changes") })
        let drift = try #require(sections.first { $0.hasPrefix("Already drifted") })
        #expect(changes.contains("`mtu`: `1500` → `1400`") && !drift.contains("`mtu`: `1500` → `1400`"))
        #expect(drift.contains("`mtu`: `1500` → `9000`") && !changes.contains("9000"))
    }

    @Test func theStatusIsShortAndCountsWhatMatters() {
        let post = PullRequestPost(Sample.report(), site: "state")
        #expect(post.status.context == "plumb/plan")
        #expect(post.status.description == "4 changes, 1 disconnecting; 2 drifted already; 1 not read; 1 other problem")
        #expect(post.status.state == .success)
        #expect(PullRequestPost(Sample.invalid).status.state == .failure)
        #expect(PullRequestPost(Sample.invalid).status.description == "2 mistakes in the specs")
        var report = Sample.report(.init(isForStranger: true))
        report.changes = Array(repeating: report.changes[0], count: 9_999)
        report.drifted = report.changes
        report.declared = Array(repeating: report.declared[0], count: 9_999)
        let words = PullRequestPost(report).status.description
        #expect(words.utf8.count <= 140 && words.utf8.allSatisfy { $0 < 0x80 })
    }

    @Test func aHeadThatCanNotBeFailsTheStatus() {
        var report = Sample.report()
        let problem = Problem(target: "pi-1", status: .invalid, message: "no")
        report.problems = [.init(problem: problem, since: .before)]
        #expect(PullRequestPost(report).status.state == .success && !report.isComplete)
        report.problems = [.init(problem: problem, since: .pullRequest)]
        #expect(PullRequestPost(report).status.state == .failure)
    }

    @Test func mistakesAreAnnotations() {
        let post = PullRequestPost(Sample.invalid)
        #expect(post.annotations.map { "\($0.path):\($0.line):\($0.column)" } == ["state/hosts.yaml:3:5", "state/hosts.yaml:9:1"])
    }

    // MARK: One comment

    @Test func onlyTheTimeIsNoReasonToSendItAgain() {
        var report = Sample.report()
        let comment = PullRequestPost(report, site: "state").comment
        #expect(comment.body.hasPrefix(comment.marker + "\n") && comment.marker == "<!-- plumb:report state -->")
        report.observedAt = Moment(milliseconds: 1_900_000_000_000)
        let later = PullRequestPost(report, site: "state").comment
        #expect(later.body != comment.body && later.says(theSameAs: comment.body))
        #expect(later.says(theSameAs: comment.body.replacing("\n", with: "\r\n") + "  \n"))
        report.changes.removeLast()
        #expect(!PullRequestPost(report, site: "state").comment.says(theSameAs: comment.body))
    }

    @Test func aMarkerIsOneCommentWhateverTheSiteIsCalled() {
        #expect(PullRequestReport.marker(site: "") == "<!-- plumb:report -->")
        #expect(PullRequestReport.marker(site: "a--> <script>\n--é/b.c") == "<!-- plumb:report a-script-/b.c -->")
    }

    // MARK: Hostile text (SECURITY.md, "Text")

    static let hostile = [
        "<script>alert(1)</script>", "</code></summary></details><img src=x onerror=alert(1)>", "@everyone @org/team", "#1 !1 GH-1 org/repo#1",
        "[a](javascript:alert(1))", "![a](https://evil.example/x.png)", "https://evil.example www.evil.example", "``` \n# h\n```", "`", "``",
        "a`b``c",
        "\\`", "`\\", "| a | b |", "\\| x", "~~~", "&lt;b&gt; &#64;x", ":tada: $x$ $`y`$", "/close\n/approve", "\n/close", "-->",
        "<!-- plumb:report state -->",
        "\u{1B}[2J\u{1B}]0;title\u{7}", "\u{202E}txt.exe\u{202C}", "\u{2066}a\u{2069}\u{200B}\u{FEFF}", "\u{2028}\u{2029}\u{85}", "\r\n\r\n- item",
        "\u{0}",
        String(repeating: "\u{300}", count: 5000) + "a", "👩‍👩‍👧‍👦", " ", "", String(repeating: "x", count: 100_000), String(repeating: "`", count: 300),
        "*a* _b_ **c** <b>d</b> <details>", "<sub>Observed 2026", "    code", "> quote", "1. one", "---", "=", "\t",
    ]

    @Test(arguments: hostile) func hostileTextStaysText(text: String) {
        for report in [Sample.hostile(text), Sample.hostile(text, stranger: true), Sample.hostileMistakes(text)] {
            for budget in [Int.max, 65_536, 4096] {
                let said = report.markdown(site: text, budget: budget, whole: nil)
                #expect(said.utf8.count <= budget)
                Self.checkStructure(said)
            }
            let json = report.document.prettyJSON
            #expect(!json.unicodeScalars.contains { $0 != "\n" && Escaping.isActive($0) })
            #expect((try? Value(json: Array(json.utf8))) != nil)
            #expect(!report.headline.contains(text) || text.isEmpty || text == " ")
        }
    }

    /// What is left of a comment without its code is Plumb's own words: nothing in it links, mentions, opens or closes anything.
    private static func checkStructure(_ text: String) {
        #expect(!text.unicodeScalars.contains { $0 != "\n" && Escaping.isActive($0) })
        var bare: [String] = []
        // The first line is the marker, of which there is a test.
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropFirst() {
            let starts = [
                "<!-- plumb:report", "### Plumb: ", "#### ", "`", "- ", "  - ", "  `", "<details", "</details>", "Nothing", "Plan `", "As text",
                "Not part", "None of",
                "Those", "**disconnecting**: may cut", "The author", "What is live", "The base", "<sub>Observed ", "**Left out",
            ]
            #expect(line.isEmpty || starts.contains { line.hasPrefix($0) }, "\(line.prefix(80))")
            bare.append(withoutCode(String(line)))
        }
        let own = bare.joined(separator: "\n")
        for sign in ["@", "](", "![", "http", "www.", "script", "<img", "javascript", "evil", "$", "|", "~", ":tada", "alert", "/close"] {
            #expect(!own.contains(sign), "\(sign)")
        }
        #expect(own.components(separatedBy: "<details").count == own.components(separatedBy: "</details>").count)
        #expect(own.components(separatedBy: "<summary>").count == own.components(separatedBy: "</summary>").count)
        #expect(!own.contains("<!--") && own.components(separatedBy: "<sub>Observed").count == 2)
    }

    /// Code spans as CommonMark 6.1 has them: a run of backticks is closed by the next of the same length. HTML's code in summaries as well.
    private static func withoutCode(_ line: String) -> String {
        var rest = line[...]
        var result = ""
        // A line of HTML, where backticks mean nothing.
        while !line.hasPrefix("<details"), let open = rest.firstIndex(of: "`") {
            result += rest[..<open]
            let fence = rest[open...].prefix { $0 == "`" }
            var search = rest[fence.endIndex...]
            var close: Substring?
            while let start = search.firstIndex(of: "`") {
                let run = search[start...].prefix { $0 == "`" }
                search = search[run.endIndex...]
                guard run.count == fence.count else { continue }
                close = run
                break
            }
            guard let close else { return result + "UNCLOSED @" }
            rest = rest[close.endIndex...]
        }
        result += rest
        while let open = result.ranges(of: "<code>").first, let close = result[open.upperBound...].ranges(of: "</code>").first {
            if result[open.upperBound..<close.lowerBound].contains("<") { return result + "OPEN @" }
            result.removeSubrange(open.lowerBound..<close.upperBound)
        }
        return result
    }

    // MARK: Room

    @Test(arguments: [4096, 5000, 8192, 20_000, 65_536, 1_000_000]) func aBudgetIsKeptAndWhatIsLeftOutIsSaid(budget: Int) throws {
        var report = Sample.report()
        report.changes = (0..<3000).map { number in
            var change = report.changes[number % report.changes.count]
            change.address.target = "host-\(number % 300)"
            change.address.resource += "-\(number)"
            return change
        }
        let text = report.markdown(site: "state", budget: budget)
        #expect(text.utf8.count <= budget)
        Self.checkStructure(text)
        let shown = text.components(separatedBy: "\n- ").count - 1
        #expect(text.contains("Left out") == (budget < 1_000_000))
        #expect(budget == 1_000_000 || shown > budget / 400, "\(shown) in \(budget)")
        #expect(text.contains("<sub>Observed "))
    }

    @Test func whatThereIsNoRoomForIsNotWritten() {
        var written = 0
        var page = Page(budget: 8192)
        let many = Array(0..<100_000)
        func item(_ number: Int) -> String {
            written += 1
            return "- \(number)\n"
        }
        page.add(Section("One group", "", [Group(of: many, item)]))
        #expect(written < 2000)
        page.add(Section("A group each", "", many.map { Group(of: [$0], item) }))
        #expect(written < 2200)
        let text = page.finished(whole: "there")
        #expect(text.contains("100000 under “A group each”"), "\(text.suffix(300))")
        #expect(text.utf8.count <= 8192)
    }

    @Test func oneChangeDoesNotTakeTheRoomOfAllOthers() {
        var report = Sample.report()
        var large = report.changes[0]
        large.address.target = "a"
        large.fields = (0..<5000).map { FieldDifference(path: "field-\($0)", observed: .string(String(repeating: "é", count: 5000)), desired: 1) }
        report.changes.insert(large, at: 0)
        let text = report.markdown(budget: 30_000)
        #expect(text.contains("more fields") && text.contains("`NetworkInterface/eth0`") && !text.contains("Left out"))
    }
}

/// A pull request as people make them.
enum Sample {
    static func action(
        _ target: String,
        _ resource: String,
        _ operation: Action.Operation,
        _ fields: [FieldDifference],
        risk: Risk = .none,
        reason: String = ""
    ) -> Action {
        Action(
            address: ResourceAddress(target: target, resource: resource),
            kind: "Kind",
            handler: "Kind",
            operation: operation,
            fields: fields,
            steps: [Step(.run(arguments: fields.map { "\($0.path) \($0.desired?.description ?? "")" }), summary: "")],
            risk: risk,
            reason: reason,
            fingerprint: "f"
        )
    }

    static func plan(_ id: String, _ actions: [Action], _ problems: [Problem], notes: [String] = []) -> Plan {
        let unchanged = [ResourceAddress(target: "pi-1", resource: "OperatingSystem")]
        return Plan(planID: id, revision: nil, source: "state", actions: actions, unchanged: unchanged, problems: problems, notes: notes)
    }

    static func report(_ audience: PullRequestReport.Audience = .init()) -> PullRequestReport {
        let flag = action(
            "pi-1",
            "NetworkInterface/wlan0",
            .update,
            [FieldDifference(path: "flags.promiscuous", observed: false, desired: true)]
        )
        let mtu = FieldDifference(path: "mtu", observed: 1500, desired: 1400)
        let secret = FieldDifference(path: "data[\"password\"]", observed: nil, desired: .sensitive(SensitiveValue("hunter2")))
        let unreachable = Problem(target: "pi-4", status: .unreachable, message: "pi-4 (192.0.2.4:22) refused the connection: does sshd run there?")
        let blocked = Problem(
            target: "pi-5",
            address: ResourceAddress(target: "pi-5", resource: "OperatingSystem"),
            status: .blocked,
            message: "needs ubuntu 24.04 or later; this is debian 12"
        )
        let base = plan(
            "0123456789abcdef",
            [flag, action("pi-2", "NetworkInterface/eth1", .update, [FieldDifference(path: "mtu", observed: 1500, desired: 9000)])],
            [unreachable, Problem(target: "pi-6", status: .denied, message: "sudo: a password is required")]
        )
        let head = plan(
            "fedcba9876543210",
            [
                action("pi-2", "NetworkInterface/eth1", .update, [FieldDifference(path: "mtu", observed: 1500, desired: 1280)]),
                action("pi-3", "IptablesChain/ipv4-nft-nat-OLD", .delete, [FieldDifference(path: "chain", observed: "2 rules", desired: nil)]),
                action("pi-3", "NetworkInterface/eth0", .update, [mtu], risk: .disconnecting, reason: "last set by hand"),
                action("home", "v1/Secret/default/s", .create, [secret]),
            ],
            [unreachable, blocked],
            notes: ["pi-7/NetworkInterface/eth0 is no longer declared; the host is left as it is (mtu 1400, was 1500 before Plumb)"]
        )
        return PullRequestReport(
            source: "file:///srv/specs.git//state",
            base: .init(name: "main", commit: String(repeating: "a", count: 40)),
            head: .init(name: "feature/mtu", commit: String(repeating: "b", count: 40)),
            audience: audience,
            observedAt: Moment(milliseconds: 1_785_579_665_000),
            plans: (base, head),
            difference: PlanDifference(from: base, to: head),
            part: audience.isForStranger ? part : nil,
            targets: [
                TargetDifference(
                    name: "pi-9",
                    isHost: true,
                    operation: .added,
                    fields: [DeclaredField(path: "address", base: nil, head: "192.0.2.9"), DeclaredField(path: "user", base: nil, head: "root")]
                ),
                TargetDifference(
                    name: "home",
                    isHost: false,
                    operation: .changed,
                    fields: [DeclaredField(path: "context", base: "home", head: "elsewhere")]
                ),
            ]
        )
    }

    private static var part: StrangersPart {
        let nothing = DesiredState(targets: [], resources: [], contentHash: "")
        var part = StrangersPart(base: nothing, head: nothing, comparesValues: true)
        part.declared = [
            DeclaredDifference(
                address: ResourceAddress(target: "pi-9", resource: "NetworkInterface/eth0"),
                kind: "NetworkInterface",
                operation: .added,
                fields: [DeclaredField(path: "mtu", base: nil, head: 1400)]
            ),
            DeclaredDifference(
                address: ResourceAddress(target: "home", resource: "v1/Secret/default/s"),
                kind: "Secret",
                operation: .changed,
                fields: [DeclaredField(path: "data.k", base: .sensitive(SensitiveValue("hunter1")), head: .sensitive(SensitiveValue("hunter2")))]
            ),
            DeclaredDifference(
                address: ResourceAddress(target: "home", resource: "v1/ConfigMap/default/c"),
                kind: "ConfigMap",
                operation: .removed,
                fields: []
            ),
        ]
        part.secrets = [ResourceAddress(target: "home", resource: "v1/Secret/default/s")]
        return part
    }

    static let invalid = PullRequestReport(
        source: "file:///srv/specs.git//state",
        base: .init(name: "main", commit: String(repeating: "a", count: 40)),
        head: .init(name: "feature/mtu", commit: String(repeating: "b", count: 40)),
        audience: .init(),
        observedAt: Moment(milliseconds: 1_785_579_665_000),
        mistakes: [
            Annotation(path: "state/hosts.yaml", line: 3, column: 5, message: "unknown field 'hots'", fix: "Did you mean 'hosts'?"),
            Annotation(path: "state/hosts.yaml", line: 9, column: 1, message: "unknown kind 'Netwrk'"),
        ]
    )

    /// The same text everywhere that others have a say in.
    static func hostile(_ text: String, stranger: Bool = false) -> PullRequestReport {
        var report = Sample.report(.init(isForStranger: stranger))
        let address = ResourceAddress(target: text, resource: text)
        let fields = [FieldDifference(path: text, observed: .string(text), desired: .array([.string(text)]))]
        let change = PullRequestReport.Change(address: address, kind: text, operation: .update, fields: fields, risk: .disruptive, reason: text)
        report.base.name = text
        report.head.name = text
        report.source = text
        report.changes.append(change)
        report.drifted.append(change)
        report.ended = [.init(change: change, why: "no longer declared")]
        report.problems.append(.init(problem: Problem(target: text, address: address, status: .held, message: text), since: .pullRequest))
        report.problems.append(.init(problem: Problem(target: text, status: .unknown, message: text), since: .before))
        let declared = DeclaredField(path: text, base: .string(text), head: .object([text: .string(text)]))
        report.declared.append(DeclaredDifference(address: address, kind: text, operation: .added, fields: [declared]))
        report.targets.append(TargetDifference(name: text, isHost: true, operation: .added, fields: [declared]))
        report.notes.append(text)
        return report
    }

    static func hostileMistakes(_ text: String) -> PullRequestReport {
        var report = Sample.invalid
        report.head.name = text
        report.mistakes = [Annotation(path: text, message: text, fix: text)]
        return report
    }
}
