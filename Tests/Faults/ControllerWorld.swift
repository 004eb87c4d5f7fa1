import Foundation
import Values

/// A repository, the `plumb run` that follows it, and what happens to both; everything that happens is counted.
final class ControllerWorld {
    let world: World
    private let relay: Child
    private var controller: Child
    private var random: SeededGenerator
    /// How often somebody changed what is declared at an address.
    private(set) var disturbed: [String: Int] = [:]
    private(set) var pushes = 0
    /// Those whose cable was pulled: their sshd may not have heard of it.
    var cutOff: Set<String> = []
    private var value = 0

    private static let namespace = "faults-controller"
    private static let objects = ["one", "two"]
    private static let chain = "OLD_CILIUM_POST_nat"

    /// Hosts that are as they should not be, the first revision pushed, and the controller started.
    init(_ name: String, hosts: [String], seed: UInt64) throws {
        world = try World(name, hosts: hosts)
        random = SeededGenerator(seed: seed)
        for host in hosts { try world.lab("add", host, "--drift") }
        // The API server is asked through a relay, whose connections can be cut.
        let place = "\(world.folder)/relay"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let program = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("relay").path
        let relay = try Child([program, place, "127.0.0.1", "6443"])
        guard relay.waits(limit: 20, for: { FileManager.default.fileExists(atPath: "\(place)/port") }) else {
            throw LabFailure(description: "the relay does not start: \(relay.errors)")
        }
        self.relay = relay
        let port = try String(contentsOfFile: "\(place)/port", encoding: .utf8)
        let admin = try String(contentsOfFile: "\(world.lab)/api-server/kubeconfig", encoding: .utf8)
        let kubeconfig = "\(world.folder)/kubeconfig"
        try Data(admin.replacingOccurrences(of: ":6443", with: ":\(port)").utf8).write(to: URL(fileURLWithPath: kubeconfig))
        let configuration = """
            source: {url: "file://\(world.folder)/infra.git", revision: main, poll: 24h}
            dataDirectory: \(world.data)
            kubernetes: {kubeconfig: \(kubeconfig)}
            ssh: {config: \(world.lab)/ssh_config, knownHosts: \(world.lab)/known_hosts, identity: \(world.lab)/identity}
            limits: {audit: 24h, timeout: 5s, confirmTimeout: 3s}
            fights: {reverts: 1000}
            operations: {listen: none}
            log: {level: debug}

            """
        try Data(configuration.utf8).write(to: URL(fileURLWithPath: "\(world.folder)/plumb.yaml"))
        try Self.git(world, ["init", "--quiet", "--bare", "--initial-branch=main", "\(world.folder)/infra.git"])
        try Self.git(world, ["clone", "--quiet", "\(world.folder)/infra.git", world.specs])
        // Nobody waits for what comes of a push: that is looked at in the end.
        let hook = try world.plumb(["hook", "install", "\(world.folder)/infra.git", "--wait", "0s"])
        guard hook.status == 0 else { throw LabFailure(description: "no hook: \(hook.said)") }
        controller = try Self.controller(world)
        try push()
    }

    private static func controller(_ world: World) throws -> Child { try world.run("\(world.folder)/plumb.yaml") }

    func remove() {
        controller.signal(SIGKILL)
        _ = controller.end()
        relay.signal(SIGKILL)
        _ = relay.end()
        for host in world.hosts { _ = try? world.lab("remove", host) }
        world.remove()
    }

    // MARK: The repository

    private static func git(_ world: World, _ arguments: [String]) throws {
        var variables: [String: String?] = ["HOME": world.folder, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"]
        for role in ["AUTHOR", "COMMITTER"] {
            variables["GIT_\(role)_NAME"] = "A"
            variables["GIT_\(role)_EMAIL"] = "a@example.com"
        }
        let outcome = try Child(["git"] + arguments, environment: variables).end()
        guard outcome.status == 0 else { throw LabFailure(description: "git \(arguments): \(outcome.said)") }
    }

    /// Another value for everything that has one.
    func push() throws {
        value += 1
        pushes += 1
        var text =
            Specs.hosts(world.hosts) + Specs.cluster
            + Specs.spec(
                "NetworkInterface",
                "wireless",
                "hosts: all, interfaces: [wlan0], flags: {promiscuous: true}, mtu: \(1400 + value % 50)"
            )
            + Specs.spec("NetworkInterface", "wired", "hosts: {names: [\(world.hosts[0])]}, interfaces: [eth0], mtu: \(1400 + value % 2)")
            + Specs.spec("IptablesChain", "leftovers", "hosts: all, table: nat, chains: [\(Self.chain)]", annotations: "{plumb/settle: 0s}")
            + Specs.object("Namespace", Self.namespace, namespace: nil, "")
        for name in Self.objects { text += Specs.object("ConfigMap", name, namespace: Self.namespace, "data: {value: \"\(value)\"}\n") }
        try world.write(text)
        try Self.git(world, ["-C", world.specs, "add", "--all"])
        try Self.git(world, ["-C", world.specs, "commit", "--quiet", "--message", "\(value)"])
        try Self.git(world, ["-C", world.specs, "push", "--quiet", "origin", "HEAD:main"])
    }

    /// The remote is somewhere else for a while.
    func withoutRemote(_ body: () throws -> Void) throws {
        let (here, there) = ("\(world.folder)/infra.git", "\(world.folder)/gone.git")
        try FileManager.default.moveItem(atPath: here, toPath: there)
        try body()
        try FileManager.default.moveItem(atPath: there, toPath: here)
    }

    // MARK: What others do

    /// Changes something at random: on a host, in the cluster, or in the repository.
    ///
    /// - Parameter hosts: of which it may be; nil: any, and the cluster and the repository as well.
    func disturb(_ hosts: [String]? = nil) throws {
        guard let host = (hosts ?? world.hosts).randomElement(using: &random) else { return }
        switch Int.random(in: 0..<(hosts == nil ? 6 : 3), using: &random) {
        case 0: try change("\(host)/NetworkInterface/wlan0") { try world.on(host, "ip link set wlan0 promisc off") }
        case 1: try change("\(host)/NetworkInterface/wlan0") { try world.on(host, "ip link set wlan0 mtu 1300") }
        case 2:
            // There already, where it was not taken away yet.
            let made = "\(host)/IptablesChain/ipv4-nft-nat-\(Self.chain)"
            try change(made) { try world.on(host, "iptables-nft -w -t nat -N \(Self.chain)") }
        case 3: try disturbObject("PATCH", #"{"data":{"value":"-1"}}"#)
        case 4: try disturbObject("DELETE", nil)
        default: try push()
        }
    }

    private func change(_ address: String, _ body: () throws -> String) throws {
        disturbed[address, default: 0] += 1
        _ = try body()
    }

    /// - Parameter body: a merge patch.
    private func disturbObject(_ method: String, _ body: String?) throws {
        guard let name = Self.objects.randomElement(using: &random) else { return }
        try change("home/v1/ConfigMap/\(Self.namespace)/\(name)") {
            let own = "\(world.lab)/api-server"
            var command = ["curl", "--silent", "--cacert", "\(own)/ca.pem", "--cert", "\(own)/home.pem", "--key", "\(own)/home.key"]
            command += ["--max-time", "10", "--request", method]
            if let body { command += ["--header", "Content-Type: application/merge-patch+json", "--data", body] }
            return try Child(command + ["https://127.0.0.1:6443/api/v1/namespaces/\(Self.namespace)/configmaps/\(name)"]).end().output
        }
    }

    func pause(upTo seconds: Double) { Thread.sleep(forTimeInterval: Double.random(in: 0..<seconds, using: &random)) }
    func randomHost() -> String { world.hosts.randomElement(using: &random) ?? "" }

    // MARK: What happens to the controller

    /// - Parameter hosts: of which something may be changed while it is not there; nil: of all.
    /// - Returns: in the middle of what it was.
    func killAndStartAnew(hosts: [String]? = nil) throws -> String {
        controller.signal(SIGKILL)
        let killed = controller.end()
        // What nobody could announce, for nobody was there.
        let isOpen = try world.plumb(["history", "--output", "json", "--limit", "1"]).document?["runs"]?.arrayValue?.first?["outcome"] == .null
        if Bool.random(using: &random) { try disturb(hosts) }
        controller = try Self.controller(world)
        if isOpen { return "in a change" }
        return killed.errors.contains(" in force") ? "between changes" : "at its start"
    }

    func resetConnections() { relay.signal(SIGUSR1) }
    /// Silent, and open.
    func toggleSilence() { relay.signal(SIGUSR2) }

    /// In kB.
    func memory() -> Int {
        let status = (try? String(contentsOfFile: "/proc/\(controller.pid)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    /// Waits until everything is as the last push says, by what the world itself says, and until the controller knows it.
    func checkSettles(_ trial: inout Trial, _ what: String, within limit: Double = 120) throws {
        let begin = ContinuousClock.now
        var plan = Outcome(status: nil, output: "", errors: "", seconds: 0)
        var status = plan
        var isSettled = false
        while !isSettled, ContinuousClock.now - begin < .seconds(limit) {
            guard controller.isRunning else { break }
            status = try world.plumb(["status", "--output", "json"])
            if status.status == 0 {
                plan = try world.plumb(["plan", "file://\(world.folder)/infra.git", "--revision", "main", "--detailed-exitcode"])
                isSettled = plan.status == 0
            }
            if !isSettled { Thread.sleep(forTimeInterval: 0.2) }
        }
        let log = controller.errors.split(separator: "\n").suffix(12).joined(separator: "⏎")
        trial.check(isSettled, "\(what): not as declared after \(limit) s: plan \(plan.said); status \(status.said); log \(log)")
        for word in ["Fatal error", "mistake in Plumb"] { trial.check(!controller.errors.contains(word), "\(what): \(word): \(log)") }
        if isSettled { say("controller: \(what): as declared after \(Int((ContinuousClock.now - begin) / .seconds(1))) s") }
    }

    /// Ends it in good order, and looks at what it has done and left.
    func checkEnd(_ trial: inout Trial) throws {
        controller.signal(SIGTERM)
        let end = controller.end(limit: 90)
        trial.check(end.status == 0, "SIGTERM: \(end.said)")
        for host in world.hosts { try world.checkNothingLeft(&trial, on: host, wasCutOff: cutOff.contains(host)) }
        var changes: [String: Int] = [:]
        let runs = try world.runs()
        for run in runs {
            let number = run["id"]?.intValue ?? 0
            let outcome = run["outcome"]?.stringValue
            trial.check(outcome != nil, "run \(number) of the journal has no end")
            for action in try world.actions(ofRun: number) {
                let address = action["address"]?.stringValue ?? ""
                let fields = action["fields"]?.arrayValue ?? []
                let isNeedless = !fields.isEmpty && fields.allSatisfy { $0["observed"] == $0["desired"] }
                trial.check(!isNeedless, "run \(number): \(address) was as it should be, and was changed")
                if action["started"]?.stringValue != nil, action["outcome"]?.stringValue == nil {
                    trial.check(false, "run \(number): \(address) was started and has no end")
                }
                if action["outcome"]?.stringValue == "succeeded" { changes[address, default: 0] += 1 }
            }
        }
        for (address, count) in changes.sorted(by: { $0.key < $1.key }) {
            // Each time somebody changed it, each time another value was pushed, and once at the start.
            let most = disturbed[address, default: 0] + pushes + 1
            trial.check(count <= most, "\(address) was changed \(count) times, and there was reason for \(most)")
        }
        let all = changes.values.reduce(0, +)
        trial.outcomes.append("\(all) changes in \(runs.count) runs after \(disturbed.values.reduce(0, +)) changes of others and \(pushes) pushes")
    }
}
