import Foundation
import Testing
import Values

extension LabTests {
    /// Two applies at one real cluster.
    @Suite struct ClusterLockTests {
        private static let quick = ["--yes", "--output", "jsonl"]
        private static let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plumb-apply"

        private static func configMap(_ name: String, annotations: String = "{}") -> String {
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), annotations: \(annotations)}\ndata: {a: b}\n"
        }

        /// Never ready: nobody runs pods there.
        private static let deployment = """
            ---
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: lock-waits}
            spec:
              selector: {matchLabels: {app: lock}}
              template:
                metadata: {labels: {app: lock}}
                spec: {containers: [{name: c, image: x}]}

            """

        @Test func theSecondOneIsToldWhoAndADeadHolderIsFollowedAtOnce() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withSpecs([
                    "first.yaml": Lab.cluster + Self.deployment, "second.yaml": Lab.cluster + Self.configMap("lock-second"),
                ]) { source in
                    let first = try Background(lab.commandLine(["apply", "\(source)/first.yaml", "--wait", "60s"] + Self.quick, data: mine))
                    #expect(try await first.waits { $0.output.contains(#""started""#) })
                    let second = try await lab.plumb(["apply", "\(source)/second.yaml"] + Self.quick, data: theirs)
                    #expect(second.status == 1)
                    let said = try second.message("skipped", "home/v1/ConfigMap/default/lock-second")
                    #expect(said.contains("home is being changed by ") && said.contains("(pid \(first.pid)) with 'plumb apply"), "\(said)")
                    #expect(said.contains("Lease kube-system/plumb-apply"), "\(said)")

                    first.kill9()
                    let begin = ContinuousClock.now
                    let next = try await lab.plumb(["apply", "\(source)/second.yaml"] + Self.quick, data: theirs)
                    #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                    #expect(ContinuousClock.now - begin < .seconds(25), "its Lease was waited out")
                    #expect(try await lab.request("GET", Self.lease)[path: "spec", "holderIdentity"] == "")
                }
            }
            try await Self.clean(lab)
        }

        @Test func aLeaseNobodyRenewsIsWaitedOut() async throws {
            let lab = try Lab()
            _ = try await lab.request("DELETE", Self.lease)
            let old = """
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "plumb-apply"}, "spec": {"holderIdentity":
                "ci\\u001b[31m@elsewhere", "leaseDurationSeconds": 4, "renewTime": "2020-01-01T00:00:00.000000Z"}}
                """
            _ = try await lab.request("POST", Self.lease.replacing("/plumb-apply", with: ""), old)
            try await lab.withSpecs(["specs.yaml": Lab.cluster + Self.configMap("lock-expired")]) { source in
                let apply = try await lab.plumb(["apply", source] + Self.quick)
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                #expect(apply.errorOutput.contains("@elsewhere' holds Lease kube-system/plumb-apply; waiting whether it still lives"))
                #expect(!apply.errorOutput.contains("\u{1B}"))
            }
            try await Self.clean(lab)
        }

        @Test func whoeverLosesTheLeaseStopsThere() async throws {
            let lab = try Lab()
            try await lab.withHost("slowly") {
                try await lab.slow("slowly", "wlan0 promisc on", seconds: 13)
                let after = Self.configMap("lock-after", annotations: "{plumb/depends-on: NetworkInterface/networkinterface}")
                let specs =
                    Lab.cluster + Self.configMap("lock-before")
                    + Lab.hosts(["slowly"]).replacing("apiVersion", with: "---\napiVersion", maxReplacements: 1)
                try await lab.withSpecs(["specs.yaml": specs + Lab.promiscuous + after]) { source in
                    let apply = try Background(lab.commandLine(["apply", source] + Self.quick))
                    #expect(try await apply.waits { $0.output.contains(#""succeeded""#) })
                    let thief = #"{"spec": {"holderIdentity": "thief"}}"#
                    _ = try await lab.request("PATCH", Self.lease, thief, type: "application/merge-patch+json")
                    #expect(apply.end() == 1)
                    let said = try Outcome(status: 1, output: apply.output, errorOutput: "").message(
                        "skipped",
                        "home/v1/ConfigMap/default/lock-after"
                    )
                    #expect(said.contains("was lost: thief has taken it over"), "\(apply.output)")
                    let other = try await lab.request("GET", "/api/v1/namespaces/default/configmaps/lock-after")
                    #expect(other["kind"] == "Status")
                    #expect(try await lab.request("GET", Self.lease)[path: "spec", "holderIdentity"] == "thief")
                }
            }
            try await Self.clean(lab)
        }

        @Test func withoutTheRightToLockNothingIsChanged() async throws {
            let lab = try Lab()
            let roles = "/apis/rbac.authorization.k8s.io/v1"
            func role(_ namespace: String, _ rights: (group: String, resource: String, verbs: String)...) async throws {
                let rules = rights.map { #"{"apiGroups": ["\#($0.group)"], "resources": ["\#($0.resource)"], "verbs": [\#($0.verbs)]}"# }
                let place = "\(roles)/namespaces/\(namespace)"
                _ = try await lab.request(
                    "POST",
                    "\(place)/roles",
                    #"{"metadata": {"name": "lock"}, "rules": [\#(rules.joined(separator: ", "))]}"#
                )
                _ = try await lab.request(
                    "POST",
                    "\(place)/rolebindings",
                    #"{"metadata": {"name": "lock"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lock"},"#
                        + #""subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}]}"#
                )
            }
            try await role("default", ("", "configmaps", #""get", "list", "create", "patch""#))
            let cluster = Lab.cluster.replacing("context: home", with: "context: nobody")
            try await lab.withSpecs(["specs.yaml": cluster + Self.configMap("lock-denied")]) { source in
                let apply = try await lab.plumb(["apply", source] + Self.quick)
                #expect(apply.status == 1)
                let said = try apply.message("skipped", "home/v1/ConfigMap/default/lock-denied")
                #expect(
                    said.contains("user nobody may not get leases.coordination.k8s.io in namespace kube-system"),
                    "\(apply.output) \(apply.errorOutput)"
                )
                #expect(try await lab.request("GET", "/api/v1/namespaces/default/configmaps/lock-denied")["kind"] == "Status")

                // What is held is written down beside it.
                try await role(
                    "kube-system",
                    ("coordination.k8s.io", "leases", #""get", "create", "update""#),
                    ("", "configmaps", #""list", "create", "update", "delete""#)
                )
                let again = try await lab.plumb(["apply", source] + Self.quick)
                #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
            }
            for namespace in ["default", "kube-system"] {
                for kind in ["roles", "rolebindings"] { _ = try await lab.request("DELETE", "\(roles)/namespaces/\(namespace)/\(kind)/lock") }
            }
            try await Self.clean(lab)
        }

        private static func clean(_ lab: Lab) async throws {
            _ = try await lab.request("DELETE", lease)
            _ = try await lab.request("DELETE", "/apis/apps/v1/namespaces/default/deployments/lock-waits")
            for name in ["second", "expired", "before", "after", "denied"] {
                _ = try await lab.request("DELETE", "/api/v1/namespaces/default/configmaps/lock-\(name)")
            }
        }
    }
}
