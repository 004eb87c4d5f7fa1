import Foundation
import Glibc

/// How a process went.
struct Run {
    var seconds: Double
    /// The most memory it held at a time, in MiB.
    var peak: Double
    var status: Int32
}

/// Starts all commands at once and waits for all of them, with their output thrown away.
func run(_ commands: [[String]]) throws -> Run {
    var peak = 0
    var status: Int32 = 0
    let seconds = try timed {
        var running: Set<pid_t> = []
        for command in commands { running.insert(try spawn(command)) }
        while !running.isEmpty {
            var usage = rusage()
            var ended: Int32 = 0
            let process = wait4(-1, &ended, 0, &usage)
            if process < 0, errno == EINTR { continue }
            guard process > 0 else { break }
            running.remove(process)
            peak = max(peak, usage.ru_maxrss)
            if ended != 0 { status = ended }
        }
    }
    return Run(seconds: seconds, peak: Double(peak) / 1024, status: status)
}

private func spawn(_ command: [String]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for descriptor: Int32 in [1, 2] { posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0) }
    var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    var process = pid_t()
    let error = posix_spawnp(&process, command[0], &actions, nil, arguments, environ)
    guard error == 0 else { throw POSIXError(POSIXErrorCode(rawValue: error) ?? .EIO) }
    return process
}

func startBenchmark() throws {
    let runs = Samples(try (0..<21).map { _ in try run([["plumb", "--version"]]).seconds })
    line(["plumb --version", runs.description])
}

/// `plumb plan` of a cold process and N parallel `ssh HOST true`, in turns. Every host of the lab, then one alone.
func planBenchmark(rounds: Int) throws {
    let environment = ProcessInfo.processInfo.environment
    guard let lab = environment["LAB"], let configuration = environment["LAB_SSH_CONFIG"], let known = environment["LAB_KNOWN_HOSTS"],
        let identity = environment["LAB_IDENTITY"]
    else {
        print("there is no lab: run Tests/Benchmarks/run")
        exit(64)
    }
    let hosts = (environment["LAB_HOSTS"] ?? "").split(separator: " ").compactMap { $0.split(separator: "=").first.map(String.init) }
    let withCluster = environment["KUBECONFIG"] != nil
    line(["cold, in turns, \(rounds) rounds", "plumb plan", "N × ssh HOST true", "ratio (median of pairs)"])
    for count in Set([1, hosts.count]).sorted() {
        let source = "\(lab)/benchmark-\(count)"
        try writeSpecs(to: source, hosts: Array(hosts.prefix(count)), withCluster: withCluster)
        let plan = [
            "plumb", "plan", source, "--ssh-config", configuration, "--known-hosts", known, "--identity", identity,
            "--concurrency", "1000", "--data-dir", "\(lab)/benchmark-data",
        ]
        let floor = hosts.prefix(count).map { ["ssh", "-F", configuration, $0, "true"] }
        var plans: [Run] = []
        var floors: [Run] = []
        for _ in 0..<rounds {
            floors.append(try run(floor))
            plans.append(try run([plan]))
        }
        if plans.contains(where: { $0.status != 0 }) || floors.contains(where: { $0.status != 0 }) {
            print("a command failed: these figures mean nothing")
            exit(1)
        }
        let ratios = Samples(zip(plans, floors).map { $0.seconds / $1.seconds })
        let spread = ratios.sorted
        line([
            "\(count) \(count == 1 ? "host" : "hosts")\(withCluster ? " and a cluster" : "")",
            Samples(plans.map(\.seconds)).description,
            Samples(floors.map(\.seconds)).description,
            String(format: "%.2f (%.2f to %.2f)", ratios.median, spread.first ?? .nan, spread.last ?? .nan),
        ])
        line(["    peak memory", String(format: "%.0f MiB", plans.map(\.peak).max() ?? .nan)])
    }
}

private func writeSpecs(to folder: String, hosts: [String], withCluster: Bool) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var text = "apiVersion: plumb/v1\nkind: HostList\nmetadata: {name: lab}\nspec:\n  defaults: {user: pi, become: sudo}\n  hosts:\n"
    for host in hosts { text += "    \(host): {}\n" }
    text += """
        ---
        apiVersion: plumb/v1
        kind: NetworkInterface
        metadata: {name: a}
        spec: {hosts: all, interfaces: [wlan0], flags: {promiscuous: true}}
        ---
        apiVersion: plumb/v1
        kind: OperatingSystem
        metadata: {name: a}
        spec: {hosts: all, distribution: ubuntu, version: {atLeast: "24.04"}, addressBits: {atLeast: 48}}
        ---
        apiVersion: plumb/v1
        kind: IptablesChain
        metadata: {name: a}
        spec: {hosts: all, table: nat, chains: [OLD_CILIUM_POST_nat]}

        """
    if withCluster {
        text += """
            ---
            apiVersion: plumb/v1
            kind: Cluster
            metadata: {name: home}
            spec: {context: home}
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: kubernetes, annotations: {plumb/manage: fields}}
            spec: {type: LoadBalancer}

            """
    }
    try text.write(toFile: "\(folder)/specs.yaml", atomically: true, encoding: .utf8)
}
