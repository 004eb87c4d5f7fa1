import Foundation
import Planning
import Reporting
import ResourceModel
import Testing
import Values

/// The issue about drift, against files (`PLUMB_RECORD=1` writes them anew), and with text that wants out of it.
struct DriftIssueTests {
    private static let revision = PullRequestReport.Revision(name: "main", commit: String(repeating: "a", count: 40))

    static func action(
        _ target: String,
        _ resource: String,
        _ operation: Action.Operation = .update,
        _ fields: [FieldDifference] = [],
        risk: Risk = .none,
        reason: String = "",
        isUndeclared: Bool = false
    ) -> Action {
        var action = Sample.action(target, resource, operation, fields, risk: risk, reason: reason)
        action.isUndeclared = isUndeclared
        return action
    }

    static let drift = [
        action("pi-2", "NetworkInterface/wlan0", .update, [FieldDifference(path: "flags.promiscuous", observed: false, desired: true)]),
        action("pi-2", "NetworkInterface/eth0", .update, [FieldDifference(path: "mtu", observed: 1500, desired: 1400)], risk: .disconnecting),
        action("pi-2", "IptablesChain/ipv4-nft-nat-OLD", .delete, [FieldDifference(path: "state", observed: "present", desired: "absent")]),
        action(
            "home",
            "v1/Secret/default/s",
            .update,
            [FieldDifference(path: "data[\"k\"]", observed: "x", desired: .sensitive(SensitiveValue("hunter2")))]
        ),
        action("home", "v1/ConfigMap/default/gone", .create, [FieldDifference(path: "data[\"k\"]", observed: nil, desired: "v")]),
        action("home", "v1/ConfigMap/default/old", .delete, reason: "no longer declared; made by plumb", isUndeclared: true),
        action(
            "home",
            "v1/Service/default/kubernetes",
            .update,
            [FieldDifference(path: "spec.type", observed: "ClusterIP", desired: "LoadBalancer")],
            reason: "spec.type was last set by kubectl-patch (Update)"
        ),
    ]

    static let problems = [
        Problem(target: "pi-4", status: .unreachable, message: "pi-4 (192.0.2.4:22) refused the connection: does sshd run there?"),
        Problem(
            target: "pi-5",
            address: ResourceAddress(target: "pi-5", resource: "OperatingSystem"),
            status: .blocked,
            message: "this is debian 12"
        ),
    ]

    static func issue(_ actions: [Action] = drift, _ problems: [Problem] = problems, site: String = "state", hidesValues: Bool = false) -> DriftIssue
    {
        DriftIssue(
            revision: revision,
            site: site,
            hidesValues: hidesValues,
            observedAt: Moment(milliseconds: 1_785_579_665_000),
            actions: actions,
            problems: problems
        )
    }

    @Test(arguments: ["drift-issue.md", "drift-issue-hidden.md", "drift-issue-closed.md", "drift-issue-cut.md"])
    func isAsTheFileSays(name: String) throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/\(name)")
        let issue: DriftIssue
        var budget = Int.max
        switch name {
        case "drift-issue.md": issue = Self.issue()
        case "drift-issue-hidden.md": issue = Self.issue(hidesValues: true)
        case "drift-issue-closed.md": issue = Self.issue([], [])
        default:
            issue = Self.issue((0..<60).map { Self.action("pi-\($0)", "NetworkInterface/wlan0", .update, Self.drift[0].fields) })
            budget = 4096
        }
        let said = "\(issue.title)\n\n\(issue.markdown(budget: budget))\n\(issue.time)\n"
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" { try said.write(to: file, atomically: true, encoding: .utf8) }
        #expect(said == (try String(contentsOf: file, encoding: .utf8)))
        #expect(!said.contains("hunter2") && issue.markdown(budget: budget).utf8.count <= budget)
    }

    @Test func eachDifferenceHasItsTwoWaysOut() {
        let text = Self.issue().markdown()
        let items = text.components(separatedBy: "\n- ").filter {
            $0.hasPrefix("update") || $0.hasPrefix("create") || $0.hasPrefix("delete") || $0.hasPrefix("**disc")
        }
        #expect(items.count == Self.drift.count)
        #expect(items.allSatisfy { $0.contains("\n  - either `plumb apply --target ") && $0.contains("\n  - or ") }, "\(text)")
        #expect(text.contains("`plumb adopt pi-2/NetworkInterface/wlan0`") && text.contains("`plumb release home/v1/ConfigMap/default/old`"))
        let elsewhere = Self.issue(site: "clusters/my home").markdown()
        #expect(elsewhere.contains("`plumb apply 'clusters/my home' --target pi-2/NetworkInterface/wlan0`"), "\(elsewhere)")
        #expect(elsewhere.contains("`plumb adopt pi-2/NetworkInterface/wlan0 'clusters/my home'`"))
        #expect(Self.issue(site: "").markdown().contains("`plumb apply . --target pi-2/NetworkInterface/wlan0`"))
    }

    @Test func onlyTheTimeIsNoReasonToSayItAgain() {
        var later = Self.issue()
        later.observedAt = Moment(milliseconds: 1_900_000_000_000)
        #expect(later.time != Self.issue().time && later.markdown() == Self.issue().markdown() && later.title == Self.issue().title)
    }

    @Test func isClosedOnlyWhenAllWasLookedAt() {
        #expect(Self.issue().isOpen && !Self.issue().isComplete)
        #expect(!Self.issue([]).isOpen && !Self.issue([]).isComplete)
        // What waits for something was looked at.
        let waiting = Self.issue([], [Self.problems[1]])
        #expect(!waiting.isOpen && waiting.isComplete)
    }

    @Test func whatEverybodyCanReadSaysNothingThatIsLive() {
        let text = Self.issue(hidesValues: true).markdown()
        for word in ["1500", "ClusterIP", "false", "present", "192.0.2.4", "sshd", "kubectl", "debian", "made by"] {
            #expect(!text.contains(word), "\(word)")
        }
        #expect(text.contains("`(hidden)` → `1400`"))
    }

    // MARK: Hostile text (SECURITY.md, "Text")

    /// What a person copies is one word for a shell, or is not there.
    @Test(arguments: [
        "$(touch pwned)", "`touch pwned`", "a; touch pwned", "a' ; touch pwned; '", "a\"b", "a\\", "a b", "a\nb", "*", "a?", "-x", "a|b", "a>pwned",
        "${IFS}", "!x", "~",
        "{a,b}", "#a", "a&b", "\u{202E}a", String(repeating: "x", count: 10_000), "[ab]", "'", "''",
    ])
    func aCommandIsOneWordForAShell(name: String) throws {
        for issue in [Self.issue([Self.action("pi-1", name)], []), Self.issue([Self.action("pi-1", "x")], [], site: name)] {
            for line in issue.markdown().split(separator: "\n") where line.hasPrefix("  - either `") || line.hasPrefix("  - or `") {
                let code = line.drop { $0 != "`" }
                let fence = code.prefix { $0 == "`" }
                var command = String(code.dropFirst(fence.count).prefix(while: { _ in true }))
                guard let end = command.ranges(of: fence).last else { return #expect(Bool(false), "\(line)") }
                command = String(command[..<end.lowerBound]).trimmingCharacters(in: .whitespaces)
                guard command.hasPrefix("plumb "), command != "plumb apply", command != "plumb release" else { continue }
                // A shell's own account of its words.
                let words = try Self.shell("for word in \(command.dropFirst(6)); do printf '%s\\0' \"$word\"; done")
                let expected = command.contains("--target") ? 3...4 : 2...3
                #expect(expected.contains(words.count), "\(command): \(words)")
                #expect(words.contains("pi-1/\(name)") || words.contains("pi-1/x"), "\(command): \(words)")
                #expect(!words.contains { $0.contains("*") || $0.contains("?") })
            }
        }
    }

    /// In an empty folder: what is a pattern for files stays what it is, and what was touched would be seen.
    private static func shell(_ script: String) throws -> [String] {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-words-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let output = try tool("/bin/bash", ["-c", script], in: folder)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty, "\(script)")
        return output.split(separator: "\0").map(String.init)
    }
}

/// Runs a program to its end.
///
/// - Throws: where there is none.
func tool(_ program: String, _ arguments: [String], input: String = "", in folder: URL? = nil) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.currentDirectoryURL = folder
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-input-\(UUID().uuidString)")
    try Data(input.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    process.standardInput = try FileHandle(forReadingFrom: file)
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: data, as: UTF8.self)
}
