import Applying
import Foundation
import Planning
import Reporting
import ResourceModel
import Testing
import Values

/// The same plan in every form it has, against files. `PLUMB_RECORD=1` writes them anew; look at the diff before you commit it.
struct ReportTests {
    @Test(arguments: [
        "plan.txt", "plan-verbose.txt", "plan-colour.txt", "plan.json", "plan.md", "empty.txt", "problems-only.txt", "apply.txt", "apply.jsonl",
    ])
    func isAsTheFileSays(name: String) throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/\(name)")
        let said = report(name)
        if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" { try said.write(to: file, atomically: true, encoding: .utf8) }
        #expect(said == (try String(contentsOf: file, encoding: .utf8)))
        if !name.contains("colour") { #expect(!said.unicodeScalars.contains { $0 != "\n" && Escaping.isActive($0) }) }
        #expect(!said.contains("hunter2"))
    }

    private func report(_ name: String) -> String {
        let plain = Style(isColoured: false)
        switch name {
        case "plan.txt": return plan.text(style: plain)
        case "plan-verbose.txt": return plan.text(style: plain, showsSteps: true)
        case "plan-colour.txt": return plan.text(style: Style(isColoured: true))
        case "plan.json": return plan.document.prettyJSON
        case "plan.md": return plan.markdown
        case "empty.txt":
            var empty = plan
            empty.actions = []
            empty.problems = []
            empty.notes = []
            return empty.text(style: plain)
        case "problems-only.txt":
            var problems = plan
            problems.actions = []
            return problems.text(style: plain)
        case "apply.txt": return events.compactMap { $0.text(style: plain) }.map { $0 + "\n" }.joined()
        default: return events.map { $0.document.lineJSON + "\n" }.joined()
        }
    }

    private let plan: Plan = {
        func action(_ target: String, _ resource: String, _ operation: Action.Operation, _ fields: [FieldDifference], risk: Risk = .none) -> Action {
            Action(
                address: ResourceAddress(target: target, resource: resource),
                kind: "Kind",
                handler: "Kind",
                operation: operation,
                fields: fields,
                steps: [
                    Step(
                        .run(arguments: ["ip"]),
                        summary: "ip link set dev wlan0 \u{1B}[31mon",
                        inverse: [.run(arguments: ["ip", "\u{1B}[31moff"], input: "a\nb\n")]
                    )
                ],
                risk: risk,
                reason: operation == .update ? "last set by kube-apiserver (Update) at 2026-01-01T00:00:00Z" : "",
                fingerprint: "f",
                dependsOn: [],
                phase: 0
            )
        }
        let flag = FieldDifference(path: "flags.promiscuous", observed: false, desired: true)
        let secret = FieldDifference(
            path: "data[\"password\"]",
            observed: .sensitive(SensitiveValue("hunter1")),
            desired: .sensitive(SensitiveValue("hunter2"))
        )
        let hostile = FieldDifference(path: "a\u{202E}b", observed: "x\n| y | `z` <script> @everyone \u{1B}]0;title\u{7}", desired: nil)
        return Plan(
            planID: "0123456789abcdef",
            revision: nil,
            source: "state",
            actions: [
                action("pi-1", "NetworkInterface/wlan0", .update, [flag]), action("pi-2", "NetworkInterface/wlan0", .update, [flag]),
                action("pi-3", "NetworkInterface/eth0", .update, [FieldDifference(path: "mtu", observed: 1500, desired: 1400)], risk: .disconnecting),
                action("pi-3", "IptablesChain/ipv4-nft-nat-OLD", .delete, [FieldDifference(path: "chain", observed: "2 rules", desired: nil)]),
                action("home", "v1/Secret/default/s", .create, [secret]), action("home", "v1/ConfigMap/default/c", .update, [hostile]),
            ],
            unchanged: [ResourceAddress(target: "pi-1", resource: "OperatingSystem")],
            problems: [
                Problem(target: "pi-4", status: .unreachable, message: "pi-4 (192.0.2.4:22) refused the connection: does sshd run there?"),
                Problem(
                    target: "pi-5",
                    address: ResourceAddress(target: "pi-5", resource: "OperatingSystem"),
                    status: .blocked,
                    message: "needs ubuntu 24.04 or later; this is debian\u{1B}[2J 12\nand says more"
                ),
            ],
            notes: ["pi-6 is away (availability: intermittent): no route"]
        )
    }()

    private let events: [ApplyEvent] = {
        let address = ResourceAddress(target: "pi-1", resource: "NetworkInterface/wlan0")
        var summary = ApplySummary()
        summary.planned = 4
        summary.succeeded = 1
        summary.failed = 1
        summary.skipped = 1
        summary.rolledBack = 1
        summary.problems = 1
        return [
            .planned(address, "update"), .started(address), .succeeded(address, ""), .succeeded(address, "ready"),
            .failed(address, "'ip \u{1B}[31m' ended with status 2: no\nsecond line"), .skipped(address, "depends on x, which did not succeed"),
            .rolledBack(address, "not confirmed within 2 s (no answer). It is as it was before."), .summary(summary),
        ]
    }()
}
