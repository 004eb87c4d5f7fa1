import Foundation
import Glibc
import Testing
import Values

extension LabTests {
    /// `plumb run` with `reports`: a bare repository, real hosts and a forge on loopback.
    @Suite struct PullRequestLabTests {
        private static let secret = "0123456789abcdef0123456789abcdef"

        /// A controller that only reports drift, so that it stays.
        private func controller(_ lab: Lab, _ forge: ForgeDouble, webhooks: Int, operations: Int, more: String = "") async throws -> RunningController
        {
            let controller = try RunningController(lab)
            try await controller.makeRepository()
            for (name, text) in [("secret", Self.secret), ("token", "s3cret")] {
                let file = "\(controller.folder)/\(name)"
                try Data(text.utf8).write(to: URL(fileURLWithPath: file))
                #expect(chmod(file, 0o600) == 0)
            }
            let hooks = "providers: [{forge: gitea, secretFiles: [\(controller.folder)/secret]}]"
            controller.settings = """
                policy: {apply: report}
                operations: {listen: "127.0.0.1:\(operations)"}
                webhooks: {listen: "127.0.0.1:\(webhooks)", \(hooks)}
                reports: {forge: gitea, url: "\(forge.url)", repository: o/r, tokenFile: \(controller.folder)/token\(more)}
                """
            return controller
        }

        private func tell(_ controller: RunningController, _ port: Int, _ action: String, _ number: Int, _ head: String) async throws {
            let request = #"{"number": \#(number), "head": {"sha": "\#(head)"}, "base": {"ref": "main"}}"#
            let body = #"{"action": "\#(action)", "number": \#(number), "pull_request": \#(request), "repository": {"full_name": "o/r"}}"#
            let file = "\(controller.folder)/body"
            try Data(body.utf8).write(to: URL(fileURLWithPath: file))
            let digest = try await run(["openssl", "dgst", "-sha256", "-hmac", Self.secret, "-r", file])
            let answer = try await run([
                "curl", "--silent", "--max-time", "10", "--write-out", "%{http_code}", "--output", "/dev/null", "--data-binary", "@\(file)",
                "--header", "Content-Type: application/json", "--header", "X-Gitea-Event: pull_request",
                "--header", "X-Gitea-Delivery: \(UUID().uuidString)", "--header", "X-Gitea-Signature: \(digest.output.prefix(64))",
                "http://127.0.0.1:\(port)/hook/gitea",
            ])
            #expect(answer.output == "202", "\(answer.output) \(answer.errorOutput)")
        }

        private static func specs(_ hosts: [String], mtu: Int) -> String {
            Lab.hosts(hosts) + Lab.spec("NetworkInterface", "interfaces: [wlan0], mtu: \(mtu)")
        }

        private func metrics(_ port: Int) async throws -> String { try await run(["curl", "--silent", "http://127.0.0.1:\(port)/metrics"]).output }

        @Test func aPullRequestHasOneReportThatStaysTrue() async throws {
            let lab = try Lab()
            try await lab.withHost("reported") {
                let forge = try await ForgeDouble()
                let controller = try await controller(lab, forge, webhooks: 19475, operations: 19474)
                try await lab.lab("exec", "reported", "ip", "link", "set", "wlan0", "mtu", "1400")
                _ = try await controller.push(["a.yaml": Self.specs(["reported"], mtu: 1400)])
                let first = try await controller.propose(["a.yaml": Self.specs(["reported"], mtu: 1310)], as: "refs/heads/feature")
                try await forge.control(["permissions": ["ann": "write"]])
                try await controller.start()
                try await controller.reaches("held") { $0.isHeld("reported") }
                try await controller.eventually("the forge was asked") { try await !forge.requests.isEmpty }
                #expect(try await forge.writes.isEmpty)

                try await forge.open([7: ["head": .string(first)]])
                try await tell(controller, 19475, "opened", 7, first)
                try await controller.eventually("reported") { try await forge.status(first) != nil }
                let opened = try await forge.comment(7) ?? ""
                #expect(opened.contains("1 change") && opened.contains("`1400` → `1310`") && opened.contains(String(first.prefix(12))), "\(opened)")
                let said = try await forge.status(first)
                #expect(said == "success: 1 change, 1 disruptive")

                // New commits: the same comment, and two requests beside who it is.
                let second = try await controller.propose(["a.yaml": Self.specs(["reported"], mtu: 1320)], as: "refs/heads/feature", after: first)
                let before = try await forge.requests.count
                try await forge.open([7: ["head": .string(second)]])
                try await tell(controller, 19475, "synchronized", 7, second)
                try await controller.eventually("reported again") { try await forge.status(second) != nil }
                #expect(try await forge.comment(7)?.contains("`1400` → `1320`") == true)
                let sent = try await forge.requests.dropFirst(before).map(\.description)
                #expect(
                    sent == [
                        "GET /repos/o/r/pulls/7", "GET /repos/o/r/collaborators/ann/permission", "PATCH /repos/o/r/issues/comments/1",
                        "POST /repos/o/r/statuses/\(second)",
                    ]
                )

                // The same once more: nothing is sent.
                let writes = try await forge.writes.count
                try await tell(controller, 19475, "reopened", 7, second)
                try await controller.eventually("looked at again") {
                    try await metrics(19474).contains("plumb_reports_total{outcome=\"unchanged\"} 1\n")
                }
                #expect(try await forge.writes.count == writes)

                // What is live changes behind it.
                try await lab.lab("exec", "reported", "ip", "link", "set", "wlan0", "mtu", "1350")
                try await controller.reaches("drift") { $0.open("reported", beginsWith: "drift reported/NetworkInterface/wlan0") != nil }
                try await controller.eventually("the drift is in it") { try await forge.comment(7)?.contains("`1350` → `1400`") == true }
                #expect(try await forge.comment(7)?.contains("`1350` → `1320`") == true)

                // The base moves, and the branch does not have it: it is about the merge of both.
                let third = try await controller.propose(
                    ["b.yaml": Lab.spec("NetworkInterface", "interfaces: [wlan0], flags: {up: true}", name: "up")],
                    as: "refs/heads/feature"
                )
                try await forge.open([7: ["head": .string(third)]])
                try await tell(controller, 19475, "synchronized", 7, third)
                try await controller.eventually("the third") { try await forge.status(third) != nil }
                try await lab.lab("exec", "reported", "ip", "link", "set", "wlan0", "mtu", "1380")
                try await controller.installHook()
                _ = try await controller.push(["a.yaml": Self.specs(["reported"], mtu: 1380)])
                let base = try await controller.head()
                try await controller.eventually("the new base") {
                    let comment = try await forge.comment(7) ?? ""
                    return comment.contains(base.prefix(12)) && !comment.contains("1350")
                }
                let moved = try await forge.comment(7) ?? ""
                #expect(moved.contains("no changes") && !moved.contains("1400"), "\(moved)")

                let status = try await run([plumb, "status", "--data-dir", controller.data])
                #expect(status.output.contains("reports: 1 open at gitea o/r, last posted "), "\(status.output)")
                #expect(!status.output.contains("problem"), "\(status.output)")

                // Closed: it is left alone, whatever happens.
                try await forge.open([7: ["head": .string(third), "state": "closed"]])
                try await tell(controller, 19475, "closed", 7, third)
                let last = try await forge.writes.count
                try await lab.lab("exec", "reported", "ip", "link", "set", "wlan0", "mtu", "1360")
                try await controller.reaches("drift") { $0.open("reported", beginsWith: "drift reported/NetworkInterface/wlan0") != nil }
                let known = try await controller.reaches("none open") { $0[path: "reports", "open"] == 0 }
                #expect(known[path: "reports", "problem"] == nil)
                #expect(controller.stop() == 0)
                #expect(try await forge.writes.count == last)
            }
        }

        @Test func whatCanNotBePostedIsSaidAndTriedAgain() async throws {
            let lab = try Lab()
            try await lab.withHost("tried") {
                let forge = try await ForgeDouble()
                let controller = try await controller(lab, forge, webhooks: 19477, operations: 19476)
                controller.settings = controller.settings.replacing("{apply: report}", with: "{apply: report, allow: [{hosts: [tried]}]}")
                _ = try await controller.push(["a.yaml": Self.specs(["tried"], mtu: 1400)])
                let bad = try await controller.propose(["a.yaml": Self.specs(["tried"], mtu: 1)], as: "refs/heads/feature")
                try await forge.control(["permissions": ["ann": "write"], "faults": [["match": "", "status": 401, "count": 1_000_000]]])
                try await forge.open([3: ["head": .string(bad)]])
                try await controller.start()
                let status = try await controller.reaches("a problem") { $0[path: "reports", "problem"]?.stringValue != nil }
                #expect(status[path: "reports", "problem"]?.stringValue?.contains("does not take the token (401") == true, "\(status)")
                #expect(try await metrics(19476).contains("plumb_reports_total{outcome=\"failed\"} "))
                #expect(controller.log.contains("warning which pull requests are open can't be asked"), "\(controller.log)")
                #expect(!controller.log.contains("s3cret"))
                // Reconciling does not mind.
                #expect(status.target("tried")?["standing"] != "pending" || controller.log.contains("tried"))

                // It takes the token again, and then has other troubles, one after the other.
                try await forge.control([
                    "faults": [
                        ["match": "GET /repos/o/r/issues/3/comments", "status": 503, "headers": ["Retry-After": "1"]],
                        ["match": "POST /repos/o/r/issues/3/comments", "status": 500],
                        ["match": "POST /repos/o/r/statuses/", "status": 429, "headers": ["Retry-After": "1"]],
                    ]
                ])
                // What was never announced is found by asking, and so is what was announced when nobody heard it.
                try await controller.eventually("reported") { try await forge.status(bad)?.hasPrefix("failure: ") == true }
                #expect(try await forge.comment(3)?.contains("mtu") == true)
                try await controller.reaches("no problem any more") { $0[path: "reports", "problem"] == nil && $0[path: "reports", "open"] == 1 }

                // What this machine's policy would refuse after the merge is said before it.
                let other = try await controller.propose(
                    ["b.yaml": "apiVersion: plumb/v1\nkind: Host\nmetadata: {name: other}\nspec: {}\n"],
                    as: "refs/heads/other"
                )
                try await forge.open([4: ["head": .string(other), "ref": "other"]])
                try await tell(controller, 19477, "opened", 4, other)
                try await controller.eventually("refused") { try await forge.status(other) == "failure: 2 mistakes in the specs" }
                let comment = try await forge.comment(4) ?? ""
                #expect(
                    comment.contains("b.yaml may not declare other") && comment.contains("a.yaml may not touch other/NetworkInterface/wlan0"),
                    "\(comment)"
                )
                #expect(controller.stop() == 0)
            }
        }

        @Test func allRequestsOfABaseShareOneLook() async throws {
            let lab = try Lab()
            try await lab.withHost("shared-1") {
                try await lab.withHost("shared-2") {
                    let hosts = ["shared-1", "shared-2"]
                    // sshd runs it at each session.
                    for host in hosts {
                        try await lab.lab(
                            "exec",
                            host,
                            "sh",
                            "-c",
                            "mkdir -p ~pi/.ssh && echo 'echo >>/tmp/sessions' >~pi/.ssh/rc && : >/tmp/sessions && chmod 666 /tmp/sessions"
                        )
                    }
                    func sessions() async throws -> [Int] {
                        var counts: [Int] = []
                        for host in hosts {
                            let count = try await lab.lab("exec", host, "wc", "-l", "/tmp/sessions").output
                            counts.append(Int(count.split(separator: " ").first ?? "") ?? -1)
                        }
                        return counts
                    }
                    let forge = try await ForgeDouble()
                    let controller = try await controller(lab, forge, webhooks: 19479, operations: 19478)
                    for host in hosts { try await lab.lab("exec", host, "ip", "link", "set", "wlan0", "mtu", "1400") }
                    _ = try await controller.push(["a.yaml": Self.specs(hosts, mtu: 1400)])
                    var heads: [Int: String] = [:]
                    for number in 1...6 {
                        // Two of them are strangers' forks.
                        let reference = number > 4 ? "refs/pull/\(number)/head" : "refs/heads/branch-\(number)"
                        heads[number] = try await controller.propose(["a.yaml": Self.specs(hosts, mtu: 1300 + number)], as: reference)
                    }
                    try await forge.control(["permissions": ["ann": "write"]])
                    func pulls() -> [Int: Value] {
                        Dictionary(
                            uniqueKeysWithValues: heads.map { number, head in
                                let user: Value = number > 4 ? "stranger" : "ann"
                                return (
                                    number,
                                    ["head": .string(head), "user": user, "fork": .bool(number > 4), "ref": .string("branch-\(number)")] as Value
                                )
                            }
                        )
                    }
                    try await forge.open(pulls())
                    try await controller.start()
                    try await controller.eventually("all reported") {
                        var isDone = true
                        for head in heads.values {
                            let status = try await forge.status(head)
                            isDone = isDone && status != nil
                        }
                        return isDone
                    }
                    let first = try await sessions()
                    #expect(first == [3, 3], "the controller's shell and its monitor, and one for all reports:\n\(controller.log)")
                    #expect(try await forge.comment(6)?.contains("no write permission") == true)
                    #expect(try await forge.comment(1)?.contains("no write permission") == false)

                    // The base moves: another look, one for all of them.
                    let base = try await controller.push([
                        "b.yaml": Lab.spec("NetworkInterface", "interfaces: [wlan0], flags: {up: true}", name: "up")
                    ])
                    #expect(base.status == 0)
                    controller.signal(SIGHUP)
                    let commit = try await controller.head()
                    try await controller.eventually("all moved") {
                        var isDone = true
                        for number in heads.keys {
                            let comment = try await forge.comment(number)
                            isDone = isDone && comment?.contains(commit.prefix(12)) == true
                        }
                        return isDone
                    }
                    let second = try await sessions()
                    #expect(second == [4, 4], "\(controller.log)")
                    let reports = try await forge.control()["comments"]?.arrayValue ?? []
                    #expect(reports.count == 6)
                    #expect(controller.stop() == 0)
                }
            }
        }

        /// Which branch is followed is known after a restart as well, although the newest revision is refused and nothing names the branch.
        @Test func whoMendsTheBaseHasAReport() async throws {
            let lab = try Lab()
            try await lab.withHost("mended") {
                let forge = try await ForgeDouble()
                let controller = try await controller(lab, forge, webhooks: 19487, operations: 19486)
                controller.source = controller.source.replacing(", revision: main", with: "")
                _ = try await controller.push(["a.yaml": Self.specs(["mended"], mtu: 1400)])
                let good = try await controller.head()
                let head = try await controller.propose(["a.yaml": Self.specs(["mended"], mtu: 1310)], as: "refs/heads/feature")
                try await controller.start()
                try await controller.reaches("in force") { $0.revision == good }
                #expect(controller.stop() == 0)
                _ = try await controller.push(["a.yaml": "apiVersion: plumb/v1\nkind: Hots\n"])
                try await controller.start()
                try await controller.reaches("still in force") { $0.revision == good }
                try await forge.control(["permissions": ["ann": "write"]])
                try await forge.open([7: ["head": .string(head)]])
                try await tell(controller, 19487, "opened", 7, head)
                try await controller.eventually("reported") { try await forge.status(head) != nil }
                #expect(try await forge.comment(7)?.contains(good.prefix(12)) == true)
                #expect(controller.stop() == 0)
            }
        }

        @Test func aStrangersPlansAreNotMoreThanSoMany() async throws {
            let lab = try Lab()
            try await lab.withHost("limited") {
                let forge = try await ForgeDouble()
                let controller = try await controller(lab, forge, webhooks: 19481, operations: 19480, more: ", plansPerAuthor: 2")
                _ = try await controller.push(["a.yaml": Self.specs(["limited"], mtu: 1400)])
                try await controller.start()
                try await controller.reaches("in force") { $0.revision != nil }
                var heads: [String] = []
                for number in 1...3 {
                    heads.append(try await controller.propose(["a.yaml": Self.specs(["limited"], mtu: 1300 + number)], as: "refs/pull/5/head"))
                    try await forge.open([5: ["head": .string(heads[number - 1]), "user": "stranger", "fork": true]])
                    try await tell(controller, 19481, number == 1 ? "opened" : "synchronized", 5, heads[number - 1])
                    try await controller.eventually("\(number) has its word") { try await forge.status(heads[number - 1]) != nil }
                }
                #expect(try await forge.status(heads[1])?.hasPrefix("success: ") == true)
                let waits = try await forge.status(heads[2]) ?? ""
                #expect(waits.hasPrefix("pending: waits its turn: 2 plans an hour"), "\(waits)")
                #expect(try await forge.comment(5)?.contains(heads[1].prefix(12)) == true, "what was said of the last one that was planned stays")
                let status = try await controller.reaches("said") { $0[path: "reports", "waiting"] == 1 }
                #expect(status[path: "reports", "problem"] == nil)
                #expect(controller.stop() == 0)
            }
        }

        @Test func aForgeThatHangsHoldsNothingUp() async throws {
            let lab = try Lab()
            try await lab.withHost("held-up") {
                let forge = try await ForgeDouble()
                let controller = try await controller(lab, forge, webhooks: 19485, operations: 19484)
                controller.settings = controller.settings.replacing("policy: {apply: report}\n", with: "")
                _ = try await controller.push(["a.yaml": Self.specs(["held-up"], mtu: 1400)])
                let head = try await controller.propose(["a.yaml": Self.specs(["held-up"], mtu: 1310)], as: "refs/heads/feature")
                try await forge.control(["permissions": ["ann": "write"], "faults": [["match": "POST ", "status": 0, "count": 1_000_000]]])
                try await forge.open([9: ["head": .string(head)]])
                try await controller.start()
                try await controller.eventually("it hangs") { try await !forge.writes.isEmpty }

                try await controller.reaches("held") { $0.isHeld("held-up") }
                try await lab.lab("exec", "held-up", "ip", "link", "set", "wlan0", "mtu", "1300")
                try await controller.eventually("put right all the same") { try await lab.mtu("held-up") == 1400 }
                #expect(try await controller.reaches("still open") { _ in true }[path: "reports", "lastPosted"] == nil)
                let ending = ContinuousClock.now
                #expect(controller.stop() == 0)
                #expect(ContinuousClock.now - ending < .seconds(20), "half a minute is what one answer may take")
            }
        }

        /// SECURITY.md, "Manifests": the API server counts what it is asked.
        @Test func aStrangersManifestsReachNoServer() async throws {
            let lab = try Lab()
            func map(_ name: String, _ data: String) -> String {
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), namespace: default}\ndata: {\(data)}\n"
            }
            let forge = try await ForgeDouble()
            let controller = try await controller(lab, forge, webhooks: 19483, operations: 19482)
            controller.settings = controller.settings.replacing("policy: {apply: report}\n", with: "")
            let base = Lab.cluster + map("asked-x", "k: v")
            _ = try await controller.push(["a.yaml": base])
            let head = Lab.cluster + map("asked-x", "k: w") + map("asked-new", "k: v")
            let theirs = try await controller.propose(["a.yaml": head], as: "refs/pull/1/head")
            let ours = try await controller.propose(["a.yaml": head + "# ours\n"], as: "refs/heads/ours")
            try await forge.control(["permissions": ["ann": "write"]])
            try await controller.start()
            try await controller.reaches("held") { $0.isHeld("home") }
            /// Dry-runs, and requests for the object that only the head has.
            func asked() async throws -> Int {
                try await lab.text("/metrics").split(separator: "\n").filter {
                    $0.hasPrefix("apiserver_request_total{") && $0.contains("dry_run=\"All\"") && $0.contains("resource=\"configmaps\"")
                }
                .reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
            }
            let before = try await asked()
            try await forge.open([1: ["head": .string(theirs), "user": "stranger", "fork": true]])
            try await tell(controller, 19483, "opened", 1, theirs)
            try await controller.eventually("the stranger's reported") { try await forge.status(theirs) != nil }
            let comment = try await forge.comment(1) ?? ""
            #expect(comment.contains("asked-x") && comment.contains("asked-new") && comment.contains("no write permission"), "\(comment)")
            let strangers = try await asked()
            #expect(strangers == before)

            try await forge.open([1: ["head": .string(theirs), "user": "stranger", "fork": true], 2: ["head": .string(ours), "ref": "ours"]])
            try await tell(controller, 19483, "opened", 2, ours)
            try await controller.eventually("ours reported") { try await forge.status(ours) != nil }
            let all = try await asked()
            #expect(all == before + 2, "who may write has both asked about")
            #expect(controller.stop() == 0)
            for name in ["asked-x", "asked-new"] {
                _ = try await lab.request("DELETE", "/api/v1/namespaces/default/configmaps/\(name)")
            }
        }
    }
}
