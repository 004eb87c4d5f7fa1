import Foundation

/// Does to Plumb what the world does, on the real lab, and prints a table of what came of it. Started by `Tests/Faults/run`.
///
/// A violation is something that must never be: a lost or invented result, a world that the next apply does not put right, something left behind.
@main
struct Faults {
    struct Options: Sendable {
        var isFull = false
        var seed = UInt64.random(in: 0...UInt64(UInt32.max))
        var only: String?
        var trials: Int?
        var fault: String?
    }

    static func main() throws {
        let options = parse(Array(CommandLine.arguments.dropFirst()))
        guard ProcessInfo.processInfo.environment["LAB"] != nil else {
            say("there is no lab: run Tests/Faults/run")
            exit(64)
        }
        let begin = ContinuousClock.now
        let tally = Tally(seed: options.seed)
        say("faults: seed \(options.seed)")
        func wants(_ group: String) -> Bool { options.only == nil || options.only == group }
        var jobs: [@Sendable () throws -> Void] = []
        let kills = Kills(tally: tally, trials: options.trials ?? (options.isFull ? 200 : 20), seed: options.seed)
        let kill = wants("kill")
        let server = wants("server")
        let secrets = wants("secrets")
        let controller = wants("controller")
        // One after another what uses the cluster, which takes one apply at a time.
        jobs.append {
            if kill { try kills.run(lane: 0) }
            if server { try ServerFaults(tally: tally, isFull: options.isFull, only: options.fault).run() }
            if secrets { try Canaries(tally: tally, isFull: options.isFull).run() }
            if controller {
                let trials = options.only == nil ? nil : options.trials
                try ControllerFaults(tally: tally, isFull: options.isFull, seed: options.seed, only: options.fault, trials: trials).run()
            }
        }
        if kill { for lane in 1..<Kills.lanes { jobs.append { try kills.run(lane: lane) } } }
        if wants("disk") {
            jobs.append { try DiskFaults(tally: tally, isFull: options.isFull, only: options.fault, seed: options.seed).run() }
        }
        if wants("network") { jobs += Network(tally: tally, isFull: options.isFull, only: options.fault).jobs }
        try inLanes(6, jobs)
        tally.print()
        print("\(Int((ContinuousClock.now - begin) / .seconds(1))) s")
        if tally.violations > 0 { exit(1) }
    }

    private static func parse(_ arguments: [String]) -> Options {
        var options = Options()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--full" {
                options.isFull = true
                continue
            }
            guard let value = rest.popFirst() else { usage() }
            switch argument {
            case "--only": options.only = value
            case "--fault": options.fault = value
            case "--seed":
                guard let seed = UInt64(value) else { usage() }
                options.seed = seed
            case "--trials":
                guard let trials = Int(value) else { usage() }
                options.trials = trials
            default: usage()
            }
        }
        return options
    }

    private static func usage() -> Never {
        say("usage: Faults [--full] [--seed N] [--only kill|network|server|disk|secrets|controller] [--fault TEXT] [--trials N]   (inside a lab)")
        exit(64)
    }
}
