import Foundation
import Testing
import Values

extension LabTests {
    /// `plumb sudoers`, believed by a real sudo: with these lines everything works, with one less the command that lacks it is named.
    @Suite struct SudoersTests {
        private static let fields =
            "interfaces: [wlan0], flags: {promiscuous: true, up: true}, mtu: 1400"
        private static let specs =
            Lab.hosts(["sudo"], user: "nobodyuser") + Lab.spec("NetworkInterface", fields) + Lab.leftovers
            + Lab.spec("IptablesChain", "table: filter, chains: [OLD_CILIUM_FORWARD], state: empty", name: "flushed")
            + Lab.spec("IptablesChain", "table: raw, chains: [\"OLD_CILIUM_*\"]", name: "globs") + Lab.ubuntu

        @Test func exactlyTheseLinesAreEnoughAndEachIsNeeded() async throws {
            let lab = try Lab()
            try await lab.withHost("sudo") {
                try await lab.withSpecs(["specs.yaml": Self.specs]) { source in
                    let printed = try await lab.plumb(["sudoers", "sudo", source], rights: true)
                    try #require(printed.status == 0, "\(printed.errorOutput)")
                    let lines = printed.output.split(separator: "\n").map(String.init)
                    let rights = lines.filter { $0.contains("NOPASSWD") }
                    // The lock, the interface, two families in two backends read and changed, and what listens.
                    #expect(rights.count == 15, "\(printed.output)")
                    try await disturb(lab)
                    let denied = try await lab.plumb(["plan", source, "--output", "json"])
                    let problems = try denied.document.problems
                    #expect(denied.status == 1 && !problems.isEmpty)

                    try await install(lines, lab, source)
                    let apply = try await lab.plumb(["apply", source, "--yes"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    let again = try await lab.plumb(["plan", source, "--detailed-exitcode"])
                    #expect(again.status == 0, "\(again.output) \(again.errorOutput)")

                    for right in rights {
                        let command = right.split(separator: ": ", maxSplits: 1).last.map(String.init) ?? ""
                        try await install(lines.filter { $0 != right }, lab, source)
                        guard !command.hasSuffix("nft monitor") else {
                            // Nothing in an apply listens.
                            #expect(try await !mayRun("nft monitor", lab))
                            continue
                        }
                        try await disturb(lab)
                        let outcome = try await lab.plumb(["apply", source, "--yes"])
                        let said = outcome.output + outcome.errorOutput
                        #expect(outcome.status == 1, "without \(command): \(said)")
                        // The program's folder is the host's business; without arguments it stands alone.
                        let words = command.replacing(" \"\"", with: "").split(separator: "/", maxSplits: 3).last.map(String.init) ?? ""
                        #expect(said.contains(words), "without \(command): \(said)")
                    }
                    try await install(lines, lab, source)
                    #expect(try await mayRun("nft monitor", lab))
                    let end = try await lab.plumb(["apply", source, "--yes"])
                    #expect(end.status == 0, "\(end.output) \(end.errorOutput)")
                }
            }
        }

        @Test func namesThatSudoReadsOtherwiseMeanWhatTheySay() async throws {
            let lab = try Lab()
            try await lab.withHost("names") {
                let specs =
                    Lab.hosts(["names"], user: "nobodyuser")
                    + Lab.spec("NetworkInterface", "interfaces: [\"a-b:1\"], missing: skip, flags: {promiscuous: true}, persist: true")
                try await lab.withSpecs(["specs.yaml": specs]) { source in
                    let printed = try await lab.plumb(["sudoers", "names", source], rights: true)
                    try await install(printed.output.split(separator: "\n").map(String.init), lab, source, host: "names")
                    let unit = #"plumb-interface-a\x2db:1.service"#
                    for command in [
                        "ip link set dev a-b:1 promisc on", "systemctl enable --quiet \(unit)", "tee /etc/systemd/system/\(unit).plumb-new",
                    ] {
                        #expect(try await mayRun(command, lab, host: "names"), "\(command): \(printed.output)")
                    }
                    for command in ["ip link set dev a-bc1 promisc on", "systemctl enable --quiet x", "tee /etc/systemd/system/x.plumb-new"] {
                        #expect(try await !mayRun(command, lab, host: "names"), "\(command): \(printed.output)")
                    }
                }
            }
        }

        @Test(arguments: [
            (Lab.hosts(["pi-1"], user: "root", become: "none"), ["pi-1"], "root logs in to pi-1 and needs no sudo"),
            (Lab.hosts(["pi-1"], become: "none"), ["pi-1"], "'pi' never calls sudo on pi-1"),
            (Lab.hosts(["pi-1"]), ["pi-7"], "'pi-7' is no host of the specs"),
        ]) func whereThereIsNothingToPrintItSaysWhy(specs: String, arguments: [String], words: String) async throws {
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-sudoers-\(UUID().uuidString).yaml")
            try Data(specs.utf8).write(to: folder)
            defer { try? FileManager.default.removeItem(at: folder) }
            let outcome = try await run([CommandTests.plumb, "sudoers"] + arguments + [folder.path])
            #expect(outcome.status == 1 && outcome.output.isEmpty && outcome.errorOutput.contains(words), "\(outcome.errorOutput)")
        }

        // MARK: The host's side

        private func install(_ lines: [String], _ lab: Lab, _ source: String, host: String = "sudo") async throws {
            let file = "\(source)/sudoers"
            try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: file))
            let checked = try await run(["visudo", "-cf", file])
            #expect(checked.status == 0, "\(checked.output) \(checked.errorOutput)")
            let text = Data((lines.joined(separator: "\n") + "\n").utf8).base64EncodedString()
            let script = "echo \(text) | base64 -d >/etc/sudoers.d/plumb; chmod 0440 /etc/sudoers.d/plumb"
            try await lab.lab("exec", host, "sh", "-c", script)
        }

        private func mayRun(_ command: String, _ lab: Lab, host: String = "sudo") async throws -> Bool {
            let quoted = command.split(separator: " ").map { "'\($0)'" }.joined(separator: " ")
            let script = "setpriv --reuid=nobodyuser --regid=nobodyuser --clear-groups sudo -n -l \(quoted) >/dev/null 2>&1"
            return try await run(["lab", "exec", host, "sh", "-c", script]).status == 0
        }

        /// Every declared field otherwise, a chain in each backend of each family, and nothing left to say who holds the host.
        private func disturb(_ lab: Lab) async throws {
            let script = """
                rm -rf /run/plumb
                ip link set dev wlan0 promisc off; ip link set dev wlan0 mtu 1500; ip link set dev wlan0 down
                for tool in iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy; do
                    $tool -t nat -N OLD_CILIUM_POST_nat 2>/dev/null
                    $tool -t raw -N OLD_CILIUM_PRE_raw 2>/dev/null
                    $tool -t filter -N OLD_CILIUM_FORWARD 2>/dev/null
                    $tool -t filter -A OLD_CILIUM_FORWARD -j RETURN
                done
                :
                """
            try await lab.lab("exec", "sudo", "sh", "-c", script)
        }
    }
}
