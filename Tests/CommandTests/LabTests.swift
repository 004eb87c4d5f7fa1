import Foundation
import Testing
import Values

/// The built program against real hosts and a real API server. One after another: they share both.
@Suite(.serialized) struct LabTests {
    private static let everything = Lab.promiscuous + Lab.leftovers + Lab.ubuntu

    // MARK: The main job

    @Test func findsEverythingFixesItAndFindsNothing() async throws {
        let lab = try Lab()
        try await lab.restoreKubernetesService()
        let service = """
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: kubernetes, annotations: {plumb/manage: fields}}
            spec: {type: LoadBalancer}

            """
        try await lab.withHost("main-1", drift: true) {
            try await lab.withHost("main-2", drift: true) {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["main-1", "main-2"]) + Lab.cluster + Self.everything + service]) { source in
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                    #expect(plan.status == 2, "\(plan.errorOutput)")
                    let document = try plan.document
                    #expect(
                        document.changes.sorted() == [
                            "home/v1/Service/default/kubernetes update",
                            "main-1/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat delete", "main-1/NetworkInterface/wlan0 update",
                            "main-2/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat delete", "main-2/NetworkInterface/wlan0 update",
                        ]
                    )
                    #expect(document["problems"] == [])
                    // The same world gives the same plan.
                    let second = try await lab.plumb(["plan", source, "--output", "json"])
                    #expect(second.output == plan.output)

                    let apply = try await lab.plumb(["apply", source, "--yes", "--output", "jsonl"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    let summary = try apply.lines.last
                    #expect(summary?["type"] == "summary" && summary?["succeeded"] == 5 && summary?["failed"] == 0)

                    let again = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                    #expect(again.status == 0, "\(again.output)")
                    #expect(try again.document.changes.isEmpty)
                    let nothing = try await lab.plumb(["apply", source])
                    #expect(nothing.status == 0, "nothing to do needs no answer: \(nothing.errorOutput)")
                }
                let flags = try await lab.lab("exec", "main-1", "ip", "-j", "link", "show", "wlan0")
                #expect(flags.output.contains("PROMISC"))
                let rules = try await lab.lab("exec", "main-2", "iptables-nft-save")
                #expect(rules.output.contains("cilium-feeder") && !rules.output.contains(":OLD_CILIUM_POST_nat"))
            }
        }
        let live = try await lab.request("GET", Lab.kubernetesService)
        #expect(live[path: "spec", "type"] == "LoadBalancer")
        let managers = (live[path: "metadata", "managedFields"]?.arrayValue ?? []).compactMap { $0["manager"]?.stringValue }
        #expect(managers.contains("plumb"))
    }

    @Test func planJSONIsAsTheContractSays() async throws {
        let lab = try Lab()
        try await lab.withHost("contract", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["contract"]) + Self.everything]) { source in
                let document = try await lab.plumb(["plan", source, "--output", "json"]).document
                #expect(document["formatVersion"] == "1" && document["revision"] == .null)
                #expect(document["source"]?.stringValue == source)
                for key in ["create", "update", "delete", "unchanged", "problems"] { #expect(document[path: "summary", key]?.intValue != nil) }
                let change = try #require(document["changes"]?.arrayValue?.last)
                #expect(change["address"] == "contract/NetworkInterface/wlan0" && change["kind"] == "NetworkInterface")
                #expect(change["target"] == "contract" && change["action"] == "update" && change["risk"] == "none")
                #expect(change["fields"] == [["path": "flags.promiscuous", "observed": false, "desired": true]])
                #expect(change["steps"]?.arrayValue?.first?.stringValue?.contains("ip link set dev wlan0 promisc on") == true)
                #expect(document["unchanged"]?.arrayValue?.contains(["address": "contract/OperatingSystem"]) == true)
            }
        }
    }

    @Test func aPlanFileIsPrivateAndWhole() async throws {
        let lab = try Lab()
        try await lab.withHost("file", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["file"]) + Lab.promiscuous]) { source in
                let file = source + "/plan.json"
                let plan = try await lab.plumb(["plan", source, "--out", file])
                #expect(plan.status == 0)
                let attributes = try FileManager.default.attributesOfItem(atPath: file)
                #expect(attributes[.posixPermissions] as? Int == 0o600)
                #expect(try Value(json: Data(contentsOf: URL(fileURLWithPath: file))).changes.count == 1)
            }
        }
    }

    @Test func targetsNarrowWhatIsAskedAndDone() async throws {
        let lab = try Lab()
        try await lab.withHost("narrow", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["narrow", "nobody-there"]) + Self.everything]) { source in
                let plan = try await lab.plumb(["plan", source, "--target", "narrow/NetworkInterface/*", "--output", "json"])
                #expect(plan.status == 0)
                #expect(try plan.document.changes == ["narrow/NetworkInterface/wlan0 update"])
                #expect(try plan.document.problems == [])
            }
        }
    }

    @Test func withoutATerminalNothingIsAppliedUnasked() async throws {
        let lab = try Lab()
        try await lab.withHost("unasked", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["unasked"]) + Lab.promiscuous]) { source in
                let apply = try await lab.plumb(["apply", source])
                #expect(apply.status == 1)
                #expect(apply.errorOutput.contains("--yes"))
            }
            let flags = try await lab.lab("exec", "unasked", "ip", "-j", "link", "show", "wlan0")
            #expect(!flags.output.contains("PROMISC"))
        }
    }

    @Test func dependenciesOrderAcrossHostsAndCluster() async throws {
        let lab = try Lab()
        let late = """
            ---
            apiVersion: v1
            kind: ConfigMap
            metadata: {name: late, annotations: {plumb/depends-on: NetworkInterface/networkinterface}}
            data: {a: b}

            """
        try await lab.withHost("first", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["first"]) + Lab.cluster + Lab.promiscuous + late]) { source in
                let apply = try await lab.plumb(["apply", source, "--yes", "--output", "jsonl"])
                #expect(apply.status == 0, "\(apply.output)")
                let order = try apply.lines.filter { $0["type"] == "succeeded" || $0["type"] == "started" }.compactMap {
                    "\($0["type"]?.stringValue ?? "") \($0["address"]?.stringValue ?? "")"
                }
                let host = try #require(order.firstIndex(of: "succeeded first/NetworkInterface/wlan0"))
                let cluster = try #require(order.firstIndex(of: "started home/v1/ConfigMap/default/late"))
                #expect(host < cluster)
            }
        }
        // The host is gone: what depends on it waits, and is named.
        try await lab.request("DELETE", "/api/v1/namespaces/default/configmaps/late")
        try await lab.withSpecs(["specs.yaml": Lab.hosts(["first"]) + Lab.cluster + Lab.promiscuous + late]) { source in
            let plan = try await lab.plumb(["plan", source, "--output", "json", "--timeout", "3s"])
            #expect(plan.status == 1)
            #expect(try plan.document.problems == ["first unreachable", "home/v1/ConfigMap/default/late blocked"])
        }
    }

    // MARK: Hosts that are not as they should be

    /// A variant of the lab's hosts, the status its problem has, and words of its message.
    @Test(arguments: [
        ("silent", ["odd unreachable"], "said nothing"), ("garbage", ["odd unknown"], "no SSH greeting"), ("slow-shell", [], ""), ("banner", [], ""),
        ("noisy", ["odd unknown"], ".bashrc"), ("no-shell", ["odd denied"], "login shell"),
        ("no-ip", ["odd/NetworkInterface/wlan0 unknown"], "iproute2"),
        ("no-iptables", ["odd/IptablesChain/nat-OLD_CILIUM_POST_nat unknown"], "iptables"),
        ("no-sudo", ["odd/IptablesChain/nat-OLD_CILIUM_POST_nat denied"], "sudo"), ("old-os", ["odd/OperatingSystem blocked"], "needs ubuntu 24.04"),
    ])
    func anOddHostIsNamedAndHoldsUpNobody(variant: String, problems: [String], words: String) async throws {
        let lab = try Lab()
        try await lab.withHost("odd", like: variant) {
            try await lab.withHost("fine", drift: true) {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["odd", "fine"]) + Self.everything]) { source in
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--timeout", "6s"])
                    let document = try plan.document
                    #expect(document.problems == problems, "\(document.message(of: "odd"))")
                    if !problems.isEmpty { #expect(document.message(of: "odd").contains(words), "\(document.message(of: "odd"))") }
                    #expect(plan.status == (problems.contains { !$0.hasSuffix("blocked") } ? 1 : 0))
                    #expect(
                        document.changes.filter { $0.hasPrefix("fine/") } == [
                            "fine/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat delete", "fine/NetworkInterface/wlan0 update",
                        ]
                    )
                    // Nothing a host printed reaches the terminal as it is.
                    let text = try await lab.plumb(["plan", source, "--timeout", "6s"])
                    #expect(!text.output.unicodeScalars.contains { $0 != "\n" && $0.properties.generalCategory == .control })
                }
            }
        }
    }

    @Test func aShellThatIsTooSlowIsUnreachable() async throws {
        let lab = try Lab()
        try await lab.withHost("slow", like: "slow-shell") {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["slow"]) + Lab.promiscuous]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json", "--timeout", "1s"])
                #expect(try plan.document.problems == ["slow unreachable"])
            }
        }
    }

    /// Who may do what: users of the lab's hosts, with the problem that each meets.
    @Test(arguments: [
        ("nosudo", "denied", "a password is required"), ("nobodyuser", "denied", "sudo"), ("stranger", "denied", "stranger"),
    ])
    func missingRightsAreNamed(user: String, status: String, words: String) async throws {
        let lab = try Lab()
        try await lab.withHost("rights", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["rights"], user: user) + Self.everything]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json"])
                #expect(plan.status == 1)
                let document = try plan.document
                #expect(document.problems.allSatisfy { $0.hasSuffix(" \(status)") } && !document.problems.isEmpty, "\(document.problems)")
                #expect(document.message(of: "rights").contains(words), "\(document.message(of: "rights"))")
            }
        }
    }

    @Test func restrictedSudoersAreEnough() async throws {
        let lab = try Lab()
        try await lab.withHost("restricted", drift: true) {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["restricted"], user: "restricted") + Self.everything]) { source in
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
            }
        }
    }

    @Test func anUnknownHostKeyIsRefusedWithTheLineToPaste() async throws {
        let lab = try Lab()
        try await lab.withHost("unknown") {
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["unknown"]) + Lab.promiscuous, "known": ""]) { source in
                let plan = try await lab.plumb(["plan", "\(source)/specs.yaml", "--output", "json"], known: "\(source)/known")
                #expect(plan.status == 1)
                let message = try plan.document.message(of: "unknown")
                #expect(try plan.document.problems == ["unknown denied"])
                #expect(message.contains("SHA256:") && message.contains("ssh-ed25519 AAAA"), "\(message)")
                // Pasted, it is enough.
                let line = try #require(message.split(separator: "\n").first { $0.contains("ssh-ed25519 AAAA") })
                try Data("\(line.trimmingCharacters(in: .whitespaces))\n".utf8).write(to: URL(fileURLWithPath: "\(source)/known"))
                let second = try await lab.plumb(["plan", "\(source)/specs.yaml", "--output", "json"], known: "\(source)/known")
                #expect(second.status == 0, "\(second.output)")
            }
        }
    }

    @Test func aChangedHostKeyIsRefused() async throws {
        let lab = try Lab()
        try await lab.withHost("changed", drift: true) {
            try await lab.lab("hostkey", "changed")
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["changed"]) + Lab.promiscuous]) { source in
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 1)
                #expect(apply.output.contains("denied"))
                // Both fingerprints: the key that was known and the one that was shown.
                #expect(apply.output.split(separator: "SHA256:").count == 3, "\(apply.output)")
            }
            let flags = try await lab.lab("exec", "changed", "ip", "-j", "link", "show", "wlan0")
            #expect(!flags.output.contains("PROMISC"))
        }
    }

    @Test func aHostThatIsDownIsUnreachableUnlessItMayBe() async throws {
        let lab = try Lab()
        try await lab.withHost("down") {
            try await lab.lab("stop", "down")
            let specs = Lab.hosts(["down"]) + Lab.promiscuous
            try await lab.withSpecs(["specs.yaml": specs]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json"])
                #expect(plan.status == 1)
                #expect(try plan.document.problems == ["down unreachable"])
                #expect(try plan.document.message(of: "down").contains("refused"))
            }
            try await lab.withSpecs(["specs.yaml": specs.replacing("{}\n---", with: "{availability: intermittent}\n---")]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                #expect(plan.status == 0)
                #expect(try plan.document["notes"]?.arrayValue?.count == 1)
            }
            try await lab.lab("start", "down")
            try await lab.lab("cut", "down")
            try await lab.withSpecs(["specs.yaml": specs]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json", "--timeout", "2s"])
                #expect(try plan.document.problems == ["down unreachable"])
            }
        }
    }

    @Test func aChainInUseIsHeldAndLeftAlone() async throws {
        let lab = try Lab()
        try await lab.withHost("held", drift: true) {
            try await lab.lab("exec", "held", "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "OLD_CILIUM_POST_nat")
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["held"]) + Lab.leftovers]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                #expect(plan.status == 2)
                #expect(try plan.document.problems == ["held/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat held"])
                #expect(try plan.document.message(of: "held").contains("POSTROUTING"))
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 1)
            }
            let remove = Lab.spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat], references: remove")
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["held"]) + remove]) { source in
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 0)
            }
            let rules = try await lab.lab("exec", "held", "iptables-nft-save", "-t", "nat")
            #expect(rules.output.contains("cilium-feeder") && !rules.output.contains("-j OLD_CILIUM_POST_nat\n"))
        }
    }

    @Test func anInterfaceThatIsNotThereIsBlockedOrSkipped() async throws {
        let lab = try Lab()
        try await lab.withHost("iface") {
            for (missing, status) in [("blocked", 2), ("skip", 0)] as [(String, Int32)] {
                let spec = Lab.spec("NetworkInterface", "interfaces: [wlan7], mtu: 1500, missing: \(missing)")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["iface"]) + spec]) { source in
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"])
                    #expect(plan.status == status)
                    #expect(try plan.document.problems == (missing == "skip" ? [] : ["iface/NetworkInterface/wlan7 blocked"]))
                }
            }
        }
    }

    // MARK: API servers that are not as they should be

    @Test(arguments: [("expired", "home denied"), ("nobody", "denied"), ("none-such", "home denied")])
    func credentialsThatDoNotDoAreNamed(context: String, problem: String) async throws {
        let lab = try Lab()
        let specs = Lab.cluster.replacing("context: home", with: "context: \(context)").dropFirst(4)
        let configMap = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"
        try await lab.withSpecs(["specs.yaml": specs + configMap]) { source in
            let plan = try await lab.plumb(["plan", source, "--output", "json"])
            #expect(plan.status == 1)
            let problems = try plan.document.problems
            #expect(problems.allSatisfy { $0.hasSuffix(problem) } && !problems.isEmpty, "\(plan.output)")
        }
    }

    @Test func anAPIServerThatIsAwayHoldsUpNoHost() async throws {
        let lab = try Lab()
        try await lab.withHost("alone", drift: true) {
            let configMap = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: away}\ndata: {a: b}\n"
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["alone"]) + Lab.cluster + Lab.promiscuous + configMap]) { source in
                try await lab.lab("api-server", "stop")
                let plan = try await lab.plumb(["apply", source, "--yes", "--output", "jsonl", "--timeout", "5s"])
                try await lab.lab("api-server", "start")
                #expect(plan.status == 1)
                let summary = try plan.lines.last
                #expect(summary?["succeeded"] == 1 && summary?["problems"] == 1)
                let apply = try await lab.plumb(["apply", source, "--yes"])
                #expect(apply.status == 0, "\(apply.output)")
            }
        }
    }

    @Test func secretsAreShownNowhere() async throws {
        let lab = try Lab()
        let canary = "canary-7f3a9"
        let encoded = Data(canary.utf8).base64EncodedString()
        let secret = { (text: String) in
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: canary}\nstringData: {a: \(text)}\ndata: {b: \(Data(text.utf8).base64EncodedString())}\n"
        }
        for text in [canary, "\(canary)-2"] {
            try await lab.withSpecs(["specs.yaml": Lab.cluster.dropFirst(4) + secret(text)]) { source in
                let file = source + "/plan.json"
                var said = ""
                for arguments in [
                    ["plan", source, "-v"], ["plan", source, "--output", "json", "--out", file], ["plan", source, "--output", "markdown"],
                    ["apply", source, "--yes", "-v"], ["plan", source, "-v"],
                ] {
                    let outcome = try await lab.plumb(arguments)
                    #expect(outcome.status == 0, "\(outcome.output) \(outcome.errorOutput)")
                    said += outcome.output + outcome.errorOutput
                }
                said += try String(contentsOfFile: file, encoding: .utf8)
                #expect(!said.contains(canary) && !said.contains(encoded))
                #expect(said.contains("(sensitive)") && said.contains("No changes"))
            }
        }
        let live = try await lab.request("GET", "/api/v1/namespaces/default/secrets/canary")
        #expect(live[path: "data", "a"]?.stringValue == Data("\(canary)-2".utf8).base64EncodedString())
    }
}
