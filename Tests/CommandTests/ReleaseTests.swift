import Foundation
import Testing
import Values

extension LabTests {
    /// The way out of using Plumb, on real hosts.
    @Suite struct ReleaseTests {
        private static let quick = ["--yes", "--output", "jsonl", "--timeout", "5s"]
        private static let settings = Lab.wlan0("mtu: 1400, flags: {promiscuous: true}, persist: true") + Lab.leftovers

        /// A host with all settings applied, and specs in which only the host is left. The host has as much of systemd as units need.
        private func withHeldSettings(_ name: String, _ body: (_ lab: Lab, _ source: String, _ data: String) async throws -> Void) async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/release-\(name)"
            try await lab.withHost(name, drift: true) {
                try await lab.pretendSystemd(name)
                try await lab.withSpecs(["hosts.yaml": Lab.hosts([name]), "settings.yaml": Self.settings]) { source in
                    let apply = try await lab.plumb(["apply", source] + Self.quick, data: data)
                    #expect(try apply.status == 0 && apply.lines.last?["succeeded"] == 3, "\(apply.output) \(apply.errorOutput)")
                    #expect(try await lab.units(name) == 2)
                    try FileManager.default.removeItem(atPath: "\(source)/settings.yaml")
                    try await body(lab, source, data)
                }
            }
        }

        @Test func whatIsNoLongerDeclaredIsSaidOnce() async throws {
            try await withHeldSettings("orphaned") { lab, source, data in
                let note =
                    "orphaned/NetworkInterface/wlan0 is no longer declared; the host is left as it is (mtu 1400, was 1500 before Plumb; "
                    + "flags.promiscuous true, was false before Plumb). To give it up: plumb release orphaned/NetworkInterface/wlan0 [--restore]"
                // A plan keeps nothing, so it can't know that it has said so.
                for _ in 0..<2 {
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"], data: data)
                    #expect(plan.status == 0, "\(plan.output)")
                    #expect(try plan.document["notes"]?.arrayValue?.contains(.string(note)) == true, "\(plan.output)")
                    #expect(try plan.document["notes"]?.arrayValue?.count == 3)
                }
                // Where nobody can have seen it, it was not said.
                _ = try await lab.plumb(["apply", source] + Self.quick, data: data)
                let apply = try await lab.plumb(["apply", source], data: data)
                #expect(apply.status == 0 && apply.output.contains(note), "\(apply.output) \(apply.errorOutput)")
                let again = try await lab.plumb(["apply", source], data: data)
                #expect(again.status == 0 && !again.output.contains("no longer declared"), "\(again.output)")
                let verbose = try await lab.plumb(["plan", source, "-v"], data: data)
                #expect(verbose.output.contains(note), "\(verbose.output)")
                #expect(try await lab.link("orphaned", "wlan0")["mtu"] == 1400)
                #expect(try await lab.units("orphaned") == 2, "the host is left as it is")

                // Declared again in part, and dropped again: that is news.
                let spec = URL(fileURLWithPath: "\(source)/settings.yaml")
                try Data(Lab.wlan0("mtu: 1400").utf8).write(to: spec)
                let part = try await lab.plumb(["apply", source], data: data)
                #expect(part.status == 0 && !part.output.contains("no longer declared"), "\(part.output)")
                try FileManager.default.removeItem(at: spec)
                let news = try await lab.plumb(["apply", source], data: data)
                #expect(news.output.contains("(mtu 1400, was 1500 before Plumb). To give it up"), "\(news.output)")
                #expect(!news.output.contains("promiscuous"), "\(news.output)")
            }
        }

        @Test func aHostThatLeftTheSpecsIsReportedAndCanBeForgotten() async throws {
            try await withHeldSettings("departed") { lab, source, data in
                try Data(Lab.hosts(["elsewhere"]).utf8).write(to: URL(fileURLWithPath: "\(source)/hosts.yaml"))
                let plan = try await lab.plumb(["plan", source], data: data)
                #expect(plan.status == 0 && plan.output.contains("departed/NetworkInterface/wlan0 is no longer declared"), "\(plan.output)")
                let release = try await lab.plumb(["release", "departed", source, "--yes"], data: data)
                #expect(release.status == 1 && release.output.contains("--forget"), "\(release.output)")
                let forget = try await lab.plumb(["release", "departed", source, "--forget", "--yes"], data: data)
                #expect(forget.status == 0 && forget.output.contains("left on the host as it is"), "\(forget.output) \(forget.errorOutput)")
                let after = try await lab.plumb(["plan", source, "-v"], data: data)
                #expect(!after.output.contains("departed"), "\(after.output)")
                #expect(try await lab.units("departed") == 2)
            }
        }

        @Test func releaseRemovesUnitsAndLeavesValues() async throws {
            try await withHeldSettings("released") { lab, source, data in
                let asked = try await lab.plumb(["release", "released/*", source], data: data)
                #expect(asked.status == 1 && asked.errorOutput.contains("nobody can be asked"))
                #expect(try await lab.units("released") == 2, "not without an answer")

                let release = try await lab.plumb(["release", "released/*", source, "--yes"], data: data)
                #expect(release.status == 0, "\(release.output) \(release.errorOutput)")
                for text in [
                    "~ NetworkInterface/wlan0/persist", "persist: true → false", "Stays as it is\n",
                    "- released/NetworkInterface/wlan0: mtu 1400, was 1500 before Plumb",
                    "- released/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat: state absent",
                    "Given up: released/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat, released/NetworkInterface/wlan0, "
                        + "released/NetworkInterface/wlan0/persist.",
                ] { #expect(release.output.contains(text), "\(release.output)") }
                #expect(try await lab.units("released") == 0)
                #expect(try await lab.link("released", "wlan0")["mtu"] == 1400)
                let nothing = try await lab.plumb(["release", "*", source, "--yes"], data: data)
                #expect(nothing.status == 0 && nothing.output.contains("Nothing is held that '*' means."), "\(nothing.output)")
                let history = try await run([plumb, "history", "2", "--data-dir", data])
                #expect(history.output.contains("release") && history.output.contains("gave up released/IptablesChain"), "\(history.output)")
            }
        }

        @Test func restorePutsBackWhatWasThere() async throws {
            try await withHeldSettings("restored") { lab, source, data in
                let release = try await lab.plumb(["release", "restored", source, "--restore", "--yes"], data: data)
                #expect(release.status == 0, "\(release.output) \(release.errorOutput)")
                #expect(release.output.contains("mtu: 1400 → 1500"), "\(release.output)")
                #expect(release.output.contains("a chain and its rules can't be brought back"), "\(release.output)")
                let link = try await lab.link("restored", "wlan0")
                #expect(link["mtu"] == 1500 && link["flags"]?.arrayValue?.contains("PROMISC") == false, "\(link)")
                #expect(try await lab.units("restored") == 0)
            }
        }

        @Test func whatCutsTheConnectionIsRestoredWithTheSameCare() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/release-careful"
            try await lab.withHost("careful") {
                try await lab.withSpecs(["hosts.yaml": Lab.hosts(["careful"]) + Lab.eth0("mtu: 1400")]) { source in
                    #expect(try await lab.plumb(["apply", source] + Self.quick, data: data).status == 0)
                    // The way back does not work: it is not made, and the setting is still held.
                    try await lab.wrapIP("careful", "case \"$*\" in *'mtu 1500') echo 'RTNETLINK answers: no' >&2; exit 2 ;; esac")
                    let release = try await lab.plumb(["release", "careful", source, "--restore", "--yes"], data: data)
                    #expect(release.status == 1 && release.output.contains("(disconnecting)"), "\(release.output)")
                    #expect(release.output.contains("rolled back") && release.output.contains("Still held: careful/NetworkInterface/eth0."))
                    #expect(release.output.contains("Still declared: the next apply takes it again"), "\(release.output)")

                    try await lab.lab("exec", "careful", "rm", "/usr/local/sbin/ip")
                    let again = try await lab.plumb(["release", "careful/NetworkInterface/*", source, "--restore", "--yes"], data: data)
                    #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
                    #expect(try await lab.link("careful", "eth0")["mtu"] == 1500)
                }
                try await lab.expectNothingArmed("careful")
            }
        }

        @Test func aPreImageOutlivesAnApplyThatIsKilled() async throws {
            let lab = try Lab()
            try await lab.withHost("killed") {
                try await lab.wrapIP(
                    "killed",
                    "case \"$*\" in *'wlan0 mtu 1400') /usr/sbin/ip \"$@\"; : >/run/lab/changing; sleep 5; exit 0 ;; esac"
                )
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["killed"]) + Lab.wlan0("mtu: 1400")]) { source in
                    let apply = try Background(["/usr/bin/env"] + lab.commandLine(["apply", source, "--yes", "--timeout", "30s"]))
                    try await lab.lab("exec", "killed", "sh", "-c", "until [ -e /run/lab/changing ]; do sleep 0.05; done")
                    apply.kill9()
                    try FileManager.default.removeItem(atPath: "\(source)/specs.yaml")
                    try Data(Lab.hosts(["killed"]).utf8).write(to: URL(fileURLWithPath: "\(source)/hosts.yaml"))
                    let plan = try await lab.plumb(["plan", source])
                    #expect(plan.output.contains("(mtu perhaps 1400, was 1500 before Plumb)"), "\(plan.output)")

                    // Declared again it is found to be so.
                    let spec = URL(fileURLWithPath: "\(source)/settings.yaml")
                    try Data(Lab.wlan0("mtu: 1400").utf8).write(to: spec)
                    let again = try await lab.plumb(["apply", source])
                    #expect(again.status == 0 && again.output.contains("No changes."), "\(again.output) \(again.errorOutput)")
                    try FileManager.default.removeItem(at: spec)
                    let sure = try await lab.plumb(["plan", source])
                    #expect(sure.output.contains("(mtu 1400, was 1500 before Plumb)"), "\(sure.output)")

                    let release = try await lab.plumb(["release", "killed", source, "--restore", "--yes"])
                    #expect(release.status == 0, "\(release.output) \(release.errorOutput)")
                }
                #expect(try await lab.link("killed", "wlan0")["mtu"] == 1500)
            }
        }

        @Test func unitsThatTheInventoryDoesNotKnowAreFound() async throws {
            try await withHeldSettings("found") { lab, source, _ in
                let other = "\(lab.folder)/release-other"
                let release = try await lab.plumb(["release", "found", source, "--yes"], data: other)
                #expect(release.status == 0 && release.output.contains("Given up: found/NetworkInterface/wlan0/persist."), "\(release.output)")
                #expect(try await lab.units("found") == 0)
            }
        }

        @Test func objectsAreGivenUpWithTheirValues() async throws {
            let lab = try Lab()
            let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: released}\ndata: {a: b}\n"
            try await lab.withSpecs(["cluster.yaml": Lab.cluster, "map.yaml": map]) { source in
                let apply = try await lab.plumb(["apply", source] + Self.quick)
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                let release = try await lab.plumb(["release", "home/v1/ConfigMap/*", source, "--yes"])
                #expect(release.status == 0, "\(release.output) \(release.errorOutput)")
                #expect(release.output.contains("Given up: home/v1/ConfigMap/default/released."), "\(release.output)")
                #expect(release.output.contains("Still declared: the next apply takes it again"), "\(release.output)")
                let live = try await lab.request("GET", "/api/v1/namespaces/default/configmaps/released")
                #expect(live[path: "data", "a"] == "b")
                let managers = (live[path: "metadata", "managedFields"]?.arrayValue ?? []).compactMap { $0["manager"]?.stringValue }
                #expect(!managers.contains("plumb"), "\(live)")

                try FileManager.default.removeItem(atPath: "\(source)/map.yaml")
                let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                #expect(try plan.status == 0 && plan.document.changes.isEmpty, "what was given up is never pruned: \(plan.output)")
                _ = try await lab.request("DELETE", "/api/v1/namespaces/default/configmaps/released")
            }
        }

        @Test func aMisspeltNameIsNoSuccess() async throws {
            let lab = try Lab()
            try await lab.withSpecs(["hosts.yaml": Lab.hosts(["pi-1"])]) { source in
                let release = try await lab.plumb(["release", "pi-11", source, "--yes"], data: "\(lab.folder)/release-none")
                #expect(release.status == 1 && release.errorOutput.contains("Did you mean 'pi-1'?"), "\(release.errorOutput)")
            }
            for arguments in [["release", "x", "--restore", "--forget"], ["release", ""], ["release", "x", "--target", "y"], ["accept"]] {
                #expect(try await run([plumb] + arguments).status == 64, "\(arguments)")
            }
        }
    }
}

extension Lab {
    /// What of systemd the steps of a unit need: that it runs, and `systemctl enable`.
    func pretendSystemd(_ host: String) async throws {
        let script = #"""
            mkdir -p /run/systemd/system
            cat >/usr/local/sbin/systemctl <<'END'
            #!/bin/sh
            folder=/etc/systemd/system
            if [ "$1" = enable ]; then
                wants=$(sed -n 's/^WantedBy=//p' "$folder/$3").wants
                mkdir -p "$folder/$wants" && ln -sf "$folder/$3" "$folder/$wants/$3"
            fi
            END
            chmod 0755 /usr/local/sbin/systemctl
            """#
        try await lab("exec", host, "sh", "-ec", script)
    }

    /// How many files and links of our units there are.
    func units(_ host: String) async throws -> Int {
        try await lab("exec", host, "sh", "-c", "find /etc/systemd/system -name 'plumb-interface-*'").output.split(separator: "\n").count
    }
}
