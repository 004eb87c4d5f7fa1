import Foundation
import Glibc
import Testing
import Values

extension LabTests {
    /// `plumb run` as people run it: a repository, real hosts, a real cluster, and what happens to them.
    @Suite struct ControllerTests {
        private static let service = """
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: kubernetes, namespace: default, annotations: {plumb/manage: fields}}
            spec: {type: LoadBalancer}

            """

        private static func mtu(_ host: String, _ fields: String) -> String {
            Lab.hosts([host]) + Lab.spec("NetworkInterface", "interfaces: [wlan0], \(fields)")
        }

        private static func configMap(_ name: String, _ value: String) -> String {
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name)}\ndata: {a: \"\(value)\"}\n"
        }

        private func get(_ url: String) async throws -> String { try await run(["curl", "--silent", "--max-time", "10", url]).output }

        // MARK: The source

        @Test func aPushIsOnTheHostBeforeThePromptIsBackAndWhatIsBrokenIsNotTaken() async throws {
            let lab = try Lab()
            try await lab.withHost("pushed") {
                let controller = try RunningController(lab)
                try await controller.makeRepository(", path: specs")
                controller.settings = "operations: {listen: \"127.0.0.1:19464\"}"
                _ = try await controller.push(["specs/a.yaml": Self.mtu("pushed", "mtu: 1400")])
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("pushed") }
                #expect(try await lab.mtu("pushed") == 1400)
                try await controller.installHook()

                let pushed = try await controller.push(["specs/a.yaml": Self.mtu("pushed", "mtu: 1410")])
                #expect(try await lab.mtu("pushed") == 1410)
                let good = try await controller.head()
                #expect(pushed.errorOutput.contains("remote: plumb: \(good.prefix(12)) applied: 1 changed at 1 targets"), "\(pushed.errorOutput)")

                let refused = try await controller.push(["specs/a.yaml": Self.mtu("pushed", "mtu: 1420, mtuu: 1")])
                let bad = try await controller.head()
                #expect(refused.errorOutput.contains("plumb: \(bad.prefix(12)) is refused, and nothing of it is applied:"), "\(refused.errorOutput)")
                #expect(refused.errorOutput.contains("a.yaml:") && refused.errorOutput.contains("'mtuu'"), "\(refused.errorOutput)")
                func isRefused(_ status: Value) -> Bool {
                    status.revision == good && status[path: "source", "refusedRevision"]?.stringValue == bad && status.mistakes.count == 1
                        && status.mistakes[0].contains("specs/a.yaml:") && status.mistakes[0].contains("'mtuu'") && status.isHeld("pushed")
                }
                try await controller.reaches("the old one in force") { isRefused($0) }
                let logged = controller.log.split(separator: "\n").filter { $0.contains(" error ") }
                #expect(
                    logged.contains { $0.contains("'mtuu'") } && logged.contains { $0.contains("\(good.prefix(12)) stays in force") },
                    "\(logged)"
                )
                #expect(try await get("http://127.0.0.1:19464/metrics").contains("\nplumb_source_mistakes 1\n"))
                #expect(try await get("http://127.0.0.1:19464/readyz") == "ok\n")

                // It is held, also by one that never saw it pushed.
                try await lab.lab("exec", "pushed", "ip", "link", "set", "wlan0", "mtu", "1300")
                try await controller.eventually("back") { try await lab.mtu("pushed") == 1410 }
                #expect(controller.stop() == 0)
                try await lab.lab("exec", "pushed", "ip", "link", "set", "wlan0", "mtu", "1300")
                try await controller.start()
                try await controller.reaches("the last good one in force after a restart") { isRefused($0) }
                #expect(try await lab.mtu("pushed") == 1410)

                let mended = try await controller.push(["specs/a.yaml": Self.mtu("pushed", "mtu: 1420")])
                #expect(mended.errorOutput.contains(" applied: 1 changed"), "\(mended.errorOutput)")
                try await controller.reaches("no mistakes") { $0.mistakes == [] && $0.isHeld("pushed") }
                #expect(try await get("http://127.0.0.1:19464/metrics").contains("\nplumb_source_mistakes 0\n"))

                // With its last file the folder is gone.
                let last = try await controller.head()
                let emptied = try await controller.push(["specs/a.yaml": nil, "README": "empty"])
                #expect(emptied.errorOutput.contains("there are no specs in 'specs', and there were before"), "\(emptied.errorOutput)")
                try await controller.reaches("still the old one") { $0.revision == last && $0.isHeld("pushed") }
                #expect(controller.stop() == 0)
                controller.source += ", allowEmpty: true"
                try await controller.start()
                let empty = try await controller.head()
                try await controller.reaches("nothing declared") { $0.revision == empty && $0["targets"] == [] && $0.mistakes == [] }
                #expect(try await lab.mtu("pushed") == 1420, "a host is left as it is")
                #expect(controller.stop() == 0)
                let changes = try await controller.changes()
                #expect(changes == ["pushed/NetworkInterface/wlan0": 5])
            }
        }

        @Test func aSignedWebhookIsTaken() async throws {
            let lab = try Lab()
            try await lab.withHost("hooked") {
                let controller = try RunningController(lab)
                try await controller.makeRepository()
                let secret = "\(controller.folder)/secret"
                try Data("0123456789abcdef0123456789abcdef".utf8).write(to: URL(fileURLWithPath: secret))
                #expect(chmod(secret, 0o600) == 0)
                controller.settings = "webhooks: {listen: \"127.0.0.1:19465\", providers: [{forge: generic, secretFiles: [\(secret)]}]}"
                _ = try await controller.push(["a.yaml": Self.mtu("hooked", "mtu: 1400")])
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("hooked") }

                _ = try await controller.push(["a.yaml": Self.mtu("hooked", "mtu: 1410")])
                let head = try await controller.head()
                let body = #"{"ref": "refs/heads/main", "after": "\#(head)"}"#
                let file = "\(controller.folder)/body"
                try Data(body.utf8).write(to: URL(fileURLWithPath: file))
                func deliver(_ signature: String) async throws -> String {
                    try await run([
                        "curl", "--silent", "--max-time", "10", "--write-out", "%{http_code}", "--output", "/dev/null", "--data-binary", "@\(file)",
                        "--header", "Content-Type: application/json", "--header", "X-Signature: sha256=\(signature)",
                        "http://127.0.0.1:19465/hook/generic",
                    ]).output
                }
                #expect(try await deliver(String(repeating: "0", count: 64)).hasPrefix("4"))
                let digest = try await run(["openssl", "dgst", "-sha256", "-hmac", "0123456789abcdef0123456789abcdef", "-r", file])
                #expect(try await lab.mtu("hooked") == 1400, "only what is signed counts")
                #expect(try await deliver(String(digest.output.prefix(64))).hasPrefix("2"))
                try await controller.reaches("the pushed one in force") { $0.revision == head && $0.isHeld("hooked") }
                #expect(try await lab.mtu("hooked") == 1410)
                #expect(controller.stop() == 0)
            }
        }

        // MARK: What happens behind its back

        @Test func whatIsChangedBehindItsBackIsPutRight() async throws {
            let lab = try Lab()
            let chain = "OLD_CILIUM_POST_nat"
            let chains = Lab.spec("IptablesChain", "table: nat, chains: [\(chain)]", name: "now", annotations: "{plumb/settle: 0s}")
            let settling = Lab.spec("IptablesChain", "table: raw, chains: [OLD_CILIUM_PRE_raw]", name: "settling")
            // Other tests have changed it too.
            try await lab.restoreKubernetesService()
            try await lab.withHost("behind") {
                let controller = try RunningController(lab)
                try controller.write(["a.yaml": Lab.hosts(["behind"]) + Lab.cluster + Lab.promiscuous + chains + settling + Self.service])
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("behind", "home") }
                func serviceType() async throws -> Value? { try await lab.request("GET", Lab.kubernetesService)[path: "spec", "type"] }
                #expect(try await serviceType() == "LoadBalancer")
                try await lab.request("PATCH", Lab.kubernetesService, #"{"spec":{"type":"ClusterIP"}}"#, type: "application/merge-patch+json")
                try await controller.eventually("LoadBalancer again") { try await serviceType() == "LoadBalancer" }

                try await lab.setPromiscuous("behind", false)
                try await controller.eventually("promiscuous again") { try await lab.isPromiscuous("behind") }
                try await lab.lab("exec", "behind", "iptables-nft", "-t", "nat", "-N", chain)
                try await controller.eventually("the chain gone") { try await !lab.rules("behind").contains(chain) }

                // What Cilium makes anew at a restart is given a minute.
                try await lab.lab("exec", "behind", "iptables-nft", "-t", "raw", "-N", "OLD_CILIUM_PRE_raw")
                try await controller.reaches("waits") { status in
                    status.open("behind", beginsWith: "drift behind/IptablesChain/")?.contains("left alone until it has been so for 60 s") ?? false
                }
                try await lab.setPromiscuous("behind", false)
                try await controller.eventually("promiscuous again") { try await lab.isPromiscuous("behind") }
                #expect(try await lab.rules("behind").contains("OLD_CILIUM_PRE_raw"))

                // The server makes it anew by itself, some seconds later.
                let before = try await lab.request("GET", Lab.kubernetesService)[path: "metadata", "uid"]
                try await lab.request("DELETE", Lab.kubernetesService)
                try await controller.eventually("made anew, and LoadBalancer again") {
                    let live = try await lab.request("GET", Lab.kubernetesService)
                    return live[path: "metadata", "uid"] != before && live[path: "spec", "type"] == "LoadBalancer"
                }
                #expect(controller.stop() == 0)
                let changes = try await controller.changes()
                #expect(
                    changes == [
                        "behind/NetworkInterface/wlan0": 3, "behind/IptablesChain/ipv4-nft-nat-\(chain)": 1, "home/v1/Service/default/kubernetes": 3,
                    ]
                )
            }
            try await lab.restoreKubernetesService()
        }

        @Test func whatIsFoughtOverIsNamedAndLeftAlone() async throws {
            let lab = try Lab()
            let object = "/api/v1/namespaces/default/configmaps/fought"
            try await lab.withHost("fought") {
                let controller = try RunningController(lab)
                controller.settings = "fights: {reverts: 2}"
                try controller.write(["a.yaml": Lab.hosts(["fought"]) + Lab.cluster + Lab.promiscuous + Self.configMap("fought", "1")])
                try await lab.setPromiscuous("fought", true)
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("fought", "home") }
                func value() async throws -> Value? { try await lab.request("GET", object)[path: "data", "a"] }
                func flip() async throws {
                    try await lab.setPromiscuous("fought", false)
                    let url = "\(object)?fieldManager=rival"
                    try await lab.request("PATCH", url, #"{"data":{"a":"2"}}"#, type: "application/merge-patch+json")
                }
                for round in 1...3 {
                    try await flip()
                    try await controller.eventually("put right") {
                        let isBack = try await value() == "1"
                        return try await lab.isPromiscuous("fought") && isBack
                    }
                    // Only what is through counts; the object was made by us as well.
                    let through = ["fought/NetworkInterface/wlan0": round, "home/v1/ConfigMap/default/fought": round + 1]
                    try await controller.eventually("written down") { try await controller.changes() == through }
                }
                try await flip()
                let status = try await controller.reaches("contested") {
                    $0.open("fought", beginsWith: "contested ") != nil && $0.open("home", beginsWith: "contested ") != nil
                }
                let host = status.open("fought", beginsWith: "contested fought/NetworkInterface/wlan0: ") ?? ""
                #expect(host.contains("put right 3 times and changed again each time (by something on the host)"), "\(host)")
                #expect(host.contains("plumb pause fought/NetworkInterface/wlan0"), "\(host)")
                let fought = status.open("home", beginsWith: "contested home/v1/ConfigMap/default/fought: ") ?? ""
                #expect(fought.contains("put right 3 times") && fought.contains("rival"), "\(fought)\n\(controller.log)")
                #expect(try await value() == "2")
                #expect(try await !lab.isPromiscuous("fought"))

                // It outlives a restart, and a person ends it.
                #expect(controller.stop() == 0)
                try await controller.start()
                try await controller.reaches("still contested") {
                    $0.open("fought", beginsWith: "contested ") != nil && $0.open("home", beginsWith: "contested ") != nil
                }
                #expect(try await !lab.isPromiscuous("fought"))
                try await controller.command("resume", "fought/NetworkInterface/wlan0")
                try await controller.eventually("tried again") { try await lab.isPromiscuous("fought") }
                #expect(try await value() == "2", "the other one is still left alone")
                #expect(controller.stop() == 0)
            }
            try await lab.request("DELETE", object)
        }

        // MARK: The brake

        @Test func whatIsPausedIsHeldAndGoesOnAfterwards() async throws {
            let lab = try Lab()
            try await lab.withHost("slowed") {
                let controller = try RunningController(lab)
                try controller.write(["a.yaml": Lab.hosts(["slowed"]) + Lab.promiscuous])
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("slowed") }

                /// Somebody changes it while it is paused; then `resume` has it put right.
                func check(_ reason: String, _ resume: () async throws -> Void) async throws {
                    try await lab.setPromiscuous("slowed", false)
                    try await controller.reaches("held: \(reason)") {
                        let open = $0.open("slowed", beginsWith: "held slowed/NetworkInterface/wlan0: paused ")
                        return open?.contains(reason) ?? false
                    }
                    #expect(try await !lab.isPromiscuous("slowed"))
                    try await resume()
                    try await controller.eventually("on again") { try await lab.isPromiscuous("slowed") }
                    try await controller.reaches("nothing open") { $0.target("slowed")?["standing"] == "inSync" }
                }

                try await controller.command("pause", "slowed/*", "--reason", "by command", "--for", "4h")
                try await check("by command") { try await controller.command("resume", "slowed/*") }

                let annotated = Lab.spec("NetworkInterface", "interfaces: [wlan0], flags: {promiscuous: true}", annotations: "{plumb/pause: by spec}")
                try controller.write(["a.yaml": Lab.hosts(["slowed"]) + annotated])
                try await controller.reaches("the new specs") {
                    $0.target("slowed")?[path: "lastPass", "reasons"]?.description.contains("revision") ?? false
                }
                try await check("by spec") { try controller.write(["a.yaml": Lab.hosts(["slowed"]) + Lab.promiscuous]) }

                try await lab.lab("exec", "slowed", "sh", "-c", "mkdir -p /etc/plumb && echo by file >/etc/plumb/pause")
                try await check("by file") { try await lab.lab("exec", "slowed", "rm", "/etc/plumb/pause") }
                #expect(controller.stop() == 0)
                // The annotated one was in sync when it came, and each pause let exactly one change through afterwards.
                let changes = try await controller.changes()
                #expect(changes == ["slowed/NetworkInterface/wlan0": 4])
            }
        }

        @Test func thePolicyOfTheMachineDecides() async throws {
            let lab = try Lab()
            try await lab.withHost("ruled", drift: true) {
                let controller = try RunningController(lab)
                let chains = Lab.spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat]", annotations: "{plumb/settle: 0s}")
                try controller.write(["hosts.yaml": Lab.hosts(["ruled"]), "net.yaml": Lab.promiscuous + chains])
                controller.settings = "policy: {rules: [{kinds: [IptablesChain], apply: report}]}"
                try await controller.start()
                try await controller.reaches("one is reported") {
                    $0.open("ruled", beginsWith: "drift ruled/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat: ")?.hasSuffix(
                        "; reported only, as the policy says"
                    )
                        ?? false
                }
                try await controller.eventually("the other one is done") { try await lab.isPromiscuous("ruled") }
                #expect(try await lab.rules("ruled").contains("OLD_CILIUM_POST_nat"))
                #expect(controller.stop() == 0)

                try await lab.setPromiscuous("ruled", false)
                controller.settings = "policy: {allow: [{paths: [hosts.yaml]}, {paths: [net.yaml], kinds: [IptablesChain]}]}"
                try await controller.start()
                let status = try await controller.reaches("refused") { !$0.mistakes.isEmpty }
                #expect(status.mistakes.count == 1 && status["targets"] == [], "\(status)")
                let mistake = status.mistakes.first ?? ""
                #expect(mistake.contains("/net.yaml:2:1: error: "), "\(mistake)")
                #expect(mistake.contains("may not touch ruled/NetworkInterface/wlan0") && mistake.contains("'policy.allow'"), "\(mistake)")
                #expect(try await !lab.isPromiscuous("ruled"))
                #expect(controller.stop() == 0)
            }
        }

        // MARK: Hosts and processes that go

        @Test func aHostThatIsDownDelaysNoOtherAndIsPutRightWhenItIsBack() async throws {
            let lab = try Lab()
            try await lab.withHost("down") {
                try await lab.withHost("awake") {
                    let controller = try RunningController(lab)
                    try controller.write(["a.yaml": Lab.hosts(["down", "awake"]) + Lab.promiscuous])
                    try await lab.lab("stop", "down")
                    try await controller.start()
                    try await controller.reaches("one is held, one is not there") {
                        $0.isHeld("awake") && $0.open("down", beginsWith: "unreachable ") != nil
                    }
                    try await lab.setPromiscuous("awake", false)
                    try await controller.eventually("put right") { try await lab.isPromiscuous("awake") }
                    #expect(try await !lab.isPromiscuous("down"))
                    try await lab.lab("start", "down")
                    try await controller.reaches("both are held", within: 60) { $0.isHeld("awake", "down") }
                    #expect(try await lab.isPromiscuous("down"))
                    // It goes again, and that is seen without anything being changed there.
                    try await lab.lab("stop", "down")
                    try await controller.reaches("not there again") { $0.isHeld("awake") && $0.open("down", beginsWith: "unreachable ") != nil }
                    #expect(controller.stop() == 0)
                }
            }
        }

        @Test func whatIsUnderWayAtTheEndIsFinished() async throws {
            let lab = try Lab()
            try await lab.withHost("ending") {
                let controller = try RunningController(lab)
                try controller.write(["a.yaml": Lab.hosts(["ending"]) + Lab.promiscuous])
                try await lab.slow("ending", "wlan0 promisc on", seconds: 2)
                try await controller.start()
                try await lab.lab("exec", "ending", "sh", "-c", "until test -e /run/lab/changing; do sleep 0.05; done")
                #expect(controller.stop() == 0)
                #expect(try await lab.isPromiscuous("ending"))
                let history = try await controller.command("history", "--output", "json").document["runs"]?.arrayValue ?? []
                #expect(history.map { $0["outcome"] } == ["complete"])
                let changes = try await controller.changes()
                #expect(changes == ["ending/NetworkInterface/wlan0": 1])
                #expect(controller.log.contains("finishing what is under way") && controller.log.contains(" ended"), "\(controller.log.suffix(2000))")
            }
        }

        @Test func anotherReplicaGoesOnWhereTheLeaderWasKilled() async throws {
            let lab = try Lab()
            try await lab.withHost("led") {
                let replicas = try [RunningController(lab), RunningController(lab)]
                for replica in replicas {
                    replica.settings = "leaderElection: {context: home, namespace: kube-system, name: plumb-test-replicas}"
                    try replica.write(["a.yaml": Lab.hosts(["led"]) + Lab.promiscuous])
                }
                let (first, second) = (replicas[0], replicas[1])
                try await first.start()
                try await first.reaches("it leads") { $0["leading"] == true && $0.isHeld("led") }
                try await second.start()
                try await second.reaches("it follows") { $0["leading"] == false && $0.revision != nil }
                try await lab.setPromiscuous("led", false)
                try await first.eventually("put right by the first") { try await lab.isPromiscuous("led") }
                try await first.eventually("written down") { try await first.changes() == ["led/NetworkInterface/wlan0": 2] }

                first.kill9()
                let begin = ContinuousClock.now
                try await lab.setPromiscuous("led", false)
                try await second.eventually("put right by the second") { try await lab.isPromiscuous("led") }
                let took = ContinuousClock.now - begin
                #expect(took < .seconds(15), "it took \(took)")
                try await second.reaches("it leads") { $0["leading"] == true && $0.isHeld("led") }
                // One that is started anew follows, and one that ends in good order hands over at once.
                try await first.start()
                try await first.reaches("it follows") { $0["leading"] == false && $0.revision != nil }
                #expect(second.stop() == 0)
                try await first.reaches("it leads again") { $0["leading"] == true && $0.isHeld("led") }
                #expect(first.stop() == 0)
                let changes = try await [first.changes(), second.changes()]
                #expect(changes == [["led/NetworkInterface/wlan0": 2], ["led/NetworkInterface/wlan0": 1]], "\(first.log)\n\(second.log)")
            }
            try await lab.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plumb-test-replicas")
        }
    }
}
