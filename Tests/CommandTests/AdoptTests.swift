import Foundation
import Testing
import Values

extension LabTests {
    /// What somebody changed by hand becomes what the specs say.
    @Suite struct AdoptTests {
        private static func specs(_ hosts: String = "all", mtu: Int = 1500) -> String {
            """
            # Wi-Fi
            apiVersion: plumb/v1
            kind: NetworkInterface
            metadata: {name: wifi}
            spec:
              hosts: \(hosts)
              interfaces: [wlan0]
              mtu: \(mtu)    # the router's
              flags: {promiscuous: false}

            """
        }

        private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

        @Test func aChangeByHandIsTakenIntoTheSpecs() async throws {
            let lab = try Lab()
            try await lab.withHost("adopt-1") {
                try await lab.withSpecs(["hosts.yaml": Lab.hosts(["adopt-1"]), "wifi.yaml": Self.specs()]) { source in
                    let wifi = "\(source)/wifi.yaml"
                    let nothing = try await lab.plumb(["adopt", "adopt-1/*", source])
                    #expect(
                        nothing.status == 0 && nothing.output.isEmpty && nothing.errorOutput.contains("Nothing to adopt"),
                        "\(nothing.errorOutput)"
                    )

                    try await lab.lab("exec", "adopt-1", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400", "promisc", "on")
                    let expected = Self.specs(mtu: 1400).replacing("promiscuous: false", with: "promiscuous: true")
                    let dry = try await lab.plumb(["adopt", "adopt-1", source, "--dry-run"])
                    #expect(dry.status == 0 && dry.output.contains("+  mtu: 1400    # the router's\n"), "\(dry.output) \(dry.errorOutput)")
                    #expect(dry.errorOutput.contains("2 values in 1 file would be adopted"), "\(dry.errorOutput)")
                    #expect(try text(wifi) == Self.specs())

                    let before = try await lab.plumb(["plan", source, "--detailed-exitcode"])
                    #expect(before.status == 2)
                    let adopted = try await lab.plumb(["adopt", "adopt-1/NetworkInterface/wlan0", source])
                    #expect(adopted.status == 0 && adopted.output == dry.output, "\(adopted.output) \(adopted.errorOutput)")
                    #expect(try text(wifi) == expected)
                    let after = try await lab.plumb(["plan", source, "--detailed-exitcode"])
                    #expect(after.status == 0, "\(after.output) \(after.errorOutput)")
                    #expect(try await lab.link("adopt-1", "wlan0")["mtu"] == 1400)

                    // The patch of the dry run comes to the same.
                    try Data(Self.specs().utf8).write(to: URL(fileURLWithPath: wifi))
                    try Data(dry.output.utf8).write(to: URL(fileURLWithPath: "\(source)/p.patch"))
                    let patch = try await run(["/usr/bin/git", "apply", "--unsafe-paths", "-p0", "p.patch"], folder: source)
                    #expect(try patch.status == 0 && text(wifi) == expected, "\(patch.errorOutput)")
                }
            }
        }

        @Test func whatPersistsFollowsWithTheNextApply() async throws {
            let lab = try Lab()
            try await lab.withHost("adopt-7") {
                try await lab.pretendSystemd("adopt-7")
                let spec = Lab.wlan0("mtu: 1300, persist: true")
                try await lab.withSpecs(["hosts.yaml": Lab.hosts(["adopt-7"]), "wifi.yaml": spec]) { source in
                    let apply = try await lab.plumb(["apply", source, "--yes"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    try await lab.lab("exec", "adopt-7", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400")
                    let adopted = try await lab.plumb(["adopt", "adopt-7", source])
                    #expect(adopted.status == 0, "\(adopted.output) \(adopted.errorOutput)")
                    #expect(try text("\(source)/wifi.yaml") == spec.replacing("1300", with: "1400"))
                    #expect(adopted.errorOutput.contains("note: adopt-7/NetworkInterface/wlan0/persist differs in "), "\(adopted.errorOutput)")
                    #expect(adopted.errorOutput.contains("; the next apply ends that\n"), "\(adopted.errorOutput)")
                    let again = try await lab.plumb(["apply", source, "--yes"])
                    #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
                    let plan = try await lab.plumb(["plan", source, "--detailed-exitcode"])
                    #expect(plan.status == 0, "\(plan.output) \(plan.errorOutput)")
                }
            }
        }

        @Test func oneValueForTwoHostsIsChangedOnlyWhereItFitsBoth() async throws {
            let lab = try Lab()
            try await lab.withHost("adopt-2") {
                try await lab.withHost("adopt-3") {
                    try await lab.withSpecs(["hosts.yaml": Lab.hosts(["adopt-2", "adopt-3"]), "wifi.yaml": Self.specs()]) { source in
                        let wifi = "\(source)/wifi.yaml"
                        try await lab.lab("exec", "adopt-2", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400")
                        let alone = try await lab.plumb(["adopt", "adopt-2/*", source])
                        #expect(alone.status == 1 && alone.output.contains("+  mtu: 1400"), "\(alone.output)")
                        #expect(
                            alone.errorOutput.contains(
                                "adopt-3/NetworkInterface/wlan0 can't be adopted\n    The same specs mean it, and with the new values it differs in mtu "
                                    + "(1500 → 1400). Give it specs of its own."
                            ),
                            "\(alone.errorOutput)"
                        )
                        #expect(try text(wifi) == Self.specs())

                        try await lab.lab("stop", "adopt-3")
                        let unknown = try await lab.plumb(["adopt", "adopt-2/*", source, "--timeout", "5s"])
                        #expect(unknown.status == 1 && unknown.errorOutput.contains("what is live there is not known"), "\(unknown.errorOutput)")
                        try await lab.lab("start", "adopt-3")

                        try await lab.lab("exec", "adopt-3", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1300")
                        let both = try await lab.plumb(["adopt", "*", source])
                        #expect(both.status == 1 && both.output.isEmpty, "\(both.output)")
                        #expect(both.errorOutput.contains("is one value for all of them"), "\(both.errorOutput)")
                        #expect(try text(wifi) == Self.specs())

                        try await lab.lab("exec", "adopt-3", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400")
                        let same = try await lab.plumb(["adopt", "adopt-2/*", source])
                        #expect(try same.status == 0 && text(wifi) == Self.specs(mtu: 1400), "\(same.errorOutput)")
                    }
                }
            }
        }

        @Test func whatIsNoValueIsExplainedAndNothingIsWritten() async throws {
            let lab = try Lab()
            try await lab.withHost("adopt-4", drift: true) {
                let files = ["hosts.yaml": Lab.hosts(["adopt-4"]), "chains.yaml": Lab.leftovers, "wifi.yaml": Self.specs()]
                try await lab.withSpecs(files) { source in
                    try await lab.lab("exec", "adopt-4", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400")
                    let outcome = try await lab.plumb(["adopt", "adopt-4", source])
                    #expect(outcome.status == 1 && outcome.output.contains("+  mtu: 1400"), "\(outcome.output)")
                    #expect(outcome.errorOutput.contains("IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat can't be adopted"), "\(outcome.errorOutput)")
                    #expect(outcome.errorOutput.contains("It is there and declared absent."), "\(outcome.errorOutput)")
                    #expect(try text("\(source)/wifi.yaml") == Self.specs())
                    let misspelt = try await lab.plumb(["adopt", "adopt-4/NetworkInterface/wlan9", source])
                    #expect(misspelt.status == 1 && misspelt.errorOutput.contains("Nothing that the specs declare has such an address"))
                    let unknown = try await lab.plumb(["adopt", "adopt-5", source])
                    #expect(unknown.status == 1 && unknown.errorOutput.contains("Did you mean 'adopt-4'?"), "\(unknown.errorOutput)")
                }
            }
        }

        @Test func anObjectsFieldsAreTakenIntoItsManifest() async throws {
            let lab = try Lab()
            let manifest = """
                apiVersion: v1
                kind: ConfigMap
                metadata:
                  name: adopted   # a comment
                  labels: {tier: 'web'}
                data:
                  main.conf: |
                    one = 1
                    two = 2
                  mode: "on"
                ---
                apiVersion: v1
                kind: Secret
                metadata: {name: adopted, labels: {tier: web}}
                stringData: {password: hunter2}

                """
            let objects = ["/api/v1/namespaces/default/configmaps/adopted", "/api/v1/namespaces/default/secrets/adopted"]
            let files = ["cluster.yaml": Lab.cluster.replacing("---\n", with: ""), "map.yaml": manifest]
            try await lab.withSpecs(files) { source in
                let path = "\(source)/map.yaml"
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                try await lab.request(
                    "PATCH",
                    objects[0],
                    #"{"metadata": {"labels": {"tier": "1"}}, "data": {"main.conf": "one = 1\n\nthree = 3\n", "mode": "off"}}"#,
                    type: "application/merge-patch+json"
                )
                try await lab.request("PATCH", objects[1], #"{"metadata": {"labels": {"tier": "db"}}}"#, type: "application/merge-patch+json")
                let adopted = try await lab.plumb(["adopt", "home/*", source])
                #expect(adopted.status == 0, "\(adopted.output) \(adopted.errorOutput)")
                let expected = manifest.replacing("'web'", with: "'1'").replacing("two = 2", with: "\n    three = 3").replacing(
                    "\n    \n",
                    with: "\n\n"
                )
                .replacing("\"on\"", with: "\"off\"").replacing("tier: web", with: "tier: db")
                #expect(try text(path) == expected)
                // A Secret stands in the file.
                #expect(!adopted.output.contains("hunter2") && !adopted.errorOutput.contains("hunter2"))
                #expect(adopted.errorOutput.contains("its lines are not shown") && adopted.errorOutput.contains("tier"), "\(adopted.errorOutput)")
                let plan = try await lab.plumb(["plan", source, "--detailed-exitcode"])
                #expect(plan.status == 0, "\(plan.output) \(plan.errorOutput)")
                try await lab.request("PATCH", objects[0], #"{"data": {"mode": null}}"#, type: "application/merge-patch+json")
                let gone = try await lab.plumb(["adopt", "home/*", source])
                #expect(gone.status == 1 && gone.errorOutput.contains("It is not set there."), "\(gone.errorOutput)")
                #expect(try text(path) == expected)
            }
            for object in objects { try await lab.request("DELETE", object) }
        }

        @Test func aRepositoryIsNotWrittenTo() async throws {
            let lab = try Lab()
            try await lab.withHost("adopt-6") {
                try await lab.withSpecs(["hosts.yaml": Lab.hosts(["adopt-6"]), "wifi.yaml": Self.specs()]) { source in
                    let git = ["/usr/bin/git", "-C", source, "-c", "user.name=t", "-c", "user.email=t@example.org"]
                    for command in [["init", "-q"], ["add", "."], ["commit", "-qm", "Specs"]] { #expect(try await run(git + command).status == 0) }
                    try await lab.lab("exec", "adopt-6", "/usr/sbin/ip", "link", "set", "wlan0", "mtu", "1400")
                    let outcome = try await lab.plumb(["adopt", "adopt-6", "file://\(source)"])
                    #expect(
                        outcome.status == 0 && outcome.output.hasPrefix("--- a/wifi.yaml\n+++ b/wifi.yaml\n"),
                        "\(outcome.output) \(outcome.errorOutput)"
                    )
                    #expect(outcome.errorOutput.contains("A repository is not written to"), "\(outcome.errorOutput)")
                    #expect(try await run(git + ["status", "--porcelain"]).output.isEmpty)
                    let patch = "\(source)/.p"
                    try Data(outcome.output.utf8).write(to: URL(fileURLWithPath: patch))
                    #expect(try await run(git + ["apply", ".p"]).status == 0)
                    #expect(try text("\(source)/wifi.yaml") == Self.specs(mtu: 1400))
                }
            }
        }
    }
}
