import Applying
import DriftDetection
import Hosts
import Observing
import Planning
import Reconciling
import ResourceModel
import Synchronization
import Values

/// One run of `plumb apply` against simulated hosts, with everything that can be held against it afterwards.
final class SimulatedPlumb: Sendable {
    struct Record: Sendable {
        var plan: Plan?
        /// What the host showed when it was last read, and when; nil: it could not be read.
        var seen: [String: (settings: [String: Int]?, time: Duration)] = [:]
        /// As the journal has it: written before the action, and after it.
        var started: Set<ResourceAddress> = []
        var ended: [ResourceAddress: ActionOutcome] = [:]
        var summary: ApplySummary?
        var violations: [String] = []
        var concluded: [String: Int] = [:]
        var ready: Set<ResourceAddress> = []
        /// What was seen when it was planned: when, and who had changed the host last.
        var marks: [String: (mark: Int, time: Duration)] = [:]
        var locked: Set<String> = []
        var prepared: [String: Int] = [:]
    }

    let number: Int
    let hosts: SimulatedHosts
    let pass: Pass
    /// From when on the journal can't be written; nil: always.
    let diskFullAt: Duration?
    let interruptedAt: Duration?
    let record = Mutex(Record())
    private let ownUndos = Mutex<[String: Int]>([:])
    private let sessions = Mutex<[String: SimulatedHosts.Session]>([:])

    private var simulation: Simulation { hosts.simulation }

    init(_ number: Int, _ hosts: SimulatedHosts, _ pass: Pass, diskFullAt: Duration? = nil, interruptedAt: Duration? = nil) {
        self.number = number
        self.hosts = hosts
        self.pass = pass
        self.diskFullAt = diskFullAt
        self.interruptedAt = interruptedAt
    }

    func run() async {
        let plan = await pass.plan(observer: observer)
        record.withLock { $0.plan = plan }
        let summary = await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: pass.concurrency, isInterrupted: { [self] in interruptedAt.map { simulation.now >= $0 } ?? false }),
            report: { [self] in check($0) }
        )
        record.withLock { $0.summary = summary }
        hosts.hangUp(number)
    }

    // MARK: Where the engine meets the hosts

    private var collaborators: ApplyCollaborators {
        ApplyCollaborators(
            execute: { [self] target, action in await execute(action, at: target.name) },
            executeRisky: { [self] target, action, look in await executeRisky(action, at: target.name, look: look) },
            observe: observer,
            awaitReadiness: { [self] target, address, limit, _ in await awaitReadiness(of: address, at: target.name, limit) },
            prepare: { [self] target, _ in await lock(target.name) },
            conclude: { [self] target, outcomes in await unlock(target.name, outcomes) },
            willStart: { [self] in willStart($0) },
            didEnd: { [self] action, outcome in didEnd(action, outcome) }
        )
    }

    private var observer: TargetObserver {
        { [self] target, _ in
            let name = target.name
            while true {
                // What somebody left armed is waited for: it would change what is planned on.
                let answer = await ask(name) { ($0.settings, $0.machine, $0.isUnreadable, $0.undo?.name, $0.lockedBy == nil ? $0.mark : -1) }
                guard let (settings, machine, isUnreadable, undo, mark) = answer else { return .failed(lost(name)) }
                if let undo, undo != ownUndos.withLock({ $0[name] }) {
                    await simulation.sleep(for: .milliseconds(500))
                    continue
                }
                record.withLock { record in
                    record.seen[name] = (isUnreadable ? nil : settings, simulation.now)
                    if record.plan == nil { record.marks[name] = (mark, simulation.now) }
                }
                let lines = settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "\n")
                let section = SectionOutput(status: isUnreadable ? 1 : 0, output: isUnreadable ? "" : lines)
                return .observed(TargetFacts(identity: machine, facts: .host([Setting.section: section])))
            }
        }
    }

    /// Over the connection that is open, or a new one.
    private func ask<T: Sendable>(_ name: String, _ body: (inout SimulatedHosts.Host) -> T) async -> T? {
        var session = sessions.withLock { $0[name] }
        if session == nil {
            session = await hosts.connect(name)
            // What is done over it needs the lock that went with the one before.
            if let new = session, record.withLock({ $0.locked.contains(name) }) {
                let again = await hosts.ask(name, new) { host -> Bool in
                    guard host.lockedBy == nil || host.lockedBy == number, host.mark == number else { return false }
                    host.lockedBy = number
                    return true
                }
                if again != true { session = nil }
            }
            sessions.withLock { $0[name] = session }
        }
        guard let session else { return nil }
        let answer = await hosts.ask(name, session, body)
        if answer == nil { sessions.withLock { $0[name] = nil } }
        return answer
    }

    private func lost(_ host: String) -> Problem { Problem(target: host, status: .unreachable, message: "no answer from \(host)") }

    private func execute(_ action: Action, at name: String) async -> Problem? {
        for step in action.steps {
            guard let (setting, value) = Setting.assignment(step.operation) else { continue }
            let status = await ask(name) { hosts.set(setting, to: value, on: &$0, named: name, run: number) }
            guard let status else { return lost(name) }
            guard status == 0 else {
                return Problem(target: name, address: action.address, status: .unknown, message: "'\(step.summary)' ended with status \(status)")
            }
        }
        return nil
    }

    /// The decisions are those of the real thing; the connection and the clock are not.
    private func executeRisky(_ action: Action, at name: String, look: @Sendable () async -> ChangedState) async -> RiskyEnding {
        let changes = action.steps.compactMap { Setting.assignment($0.operation) }
        let restore = action.steps.flatMap(\.inverse).compactMap(Setting.assignment)
        var commit = CommitConfirmed(timeout: .seconds(30))
        let start = simulation.now
        let undo = SimulatedHosts.Undo(name: nextUndo(), restore: Dictionary(restore) { first, _ in first })
        var order = commit.start
        while true {
            let report: CommitConfirmed.Report
            switch order {
            case .arm:
                ownUndos.withLock { $0[name] = undo.name }
                let fuse = Duration.seconds(commit.fuse)
                switch await ask(name, { hosts.arm(undo, fuse: fuse, on: &$0, named: name, run: number) }) {
                case true: report = .armed
                case false: report = .notArmed(.reason("another change is being made there"))
                case nil: report = .notArmed(.failure(HostFailure(.unreachable, "no answer")))
                }
            case .change:
                let result = await ask(name) { host -> CommitConfirmed.Report in
                    guard host.undo == undo else { return .over }
                    for (setting, value) in changes where hosts.set(setting, to: value, on: &host, named: name, run: number) != 0 {
                        return .stepFailed("status 1")
                    }
                    return .changed
                }
                report = result ?? .lost("no answer")
            case .look:
                await simulation.sleep(for: .milliseconds(200))
                sessions.withLock { $0[name] = nil }
                switch await look() {
                case .asDeclared: report = .asDeclared
                case .differs(let message): report = .differs(message)
                case .unobservable(let message): report = .lost(message)
                }
            case .confirm:
                let result = await ask(name) { host -> CommitConfirmed.Report in
                    guard host.undo == undo else { return .over }
                    host.undo = nil
                    return .confirmed
                }
                report = result ?? .lost("no answer")
            case .revert:
                let result = await ask(name) { host -> CommitConfirmed.Report in
                    guard host.undo == undo else { return .over }
                    hosts.takeBack(on: &host, named: name, run: number)
                    return .undone
                }
                report = result ?? .lost("no answer")
            case .await:
                await simulation.sleep(for: .milliseconds(300))
                switch await ask(name, { $0.undo == undo }) {
                case true: report = .stillArmed
                case false: report = .undone
                case nil: report = .lost("no answer")
                }
            case .end(let ending):
                ownUndos.withLock { $0[name] = nil }
                return self.ending(ending, of: action)
            }
            order = commit.take(report, at: simulation.now - start)
        }
    }

    private func ending(_ ending: CommitConfirmed.Ending, of action: Action) -> RiskyEnding {
        func problem(_ status: ProblemStatus, _ message: String) -> Problem {
            Problem(target: action.address.target, address: action.address, status: status, message: message)
        }
        switch ending {
        case .confirmed: return .confirmed
        case .undone(let why): return .undone(why)
        case .undoBroken(let why, let said): return .unknown(problem(.unknown, "\(why); \(said)"))
        case .unknown(let why, _): return .unknown(problem(.unreachable, why))
        case .refused(.failure(let failure)): return .refused(problem(.unreachable, failure.message))
        case .refused(.reason(let why)): return .refused(problem(.blocked, why))
        case .refused(.unexpected): return .refused(problem(.unknown, "unexpected"))
        }
    }

    private func awaitReadiness(of address: ResourceAddress, at name: String, _ limit: Duration) async -> String? {
        let setting = Setting.name(of: address)
        await simulation.sleep(for: .milliseconds(simulation.random(in: 1...3000)))
        let isReady = await ask(name) { !$0.unready.contains(setting) }
        if isReady == true {
            record.withLock { _ = $0.ready.insert(address) }
            return nil
        }
        await simulation.sleep(for: limit)
        return "0 of 1 replicas"
    }

    private func nextUndo() -> Int {
        hosts.state.withLock { state in
            state.undoCount += 1
            return state.undoCount
        }
    }

    private func lock(_ name: String) async -> Problem? {
        record.withLock { $0.prepared[name, default: 0] += 1 }
        let mark = record.withLock { $0.marks[name]?.mark }
        let answer = await ask(name) { host -> String in
            if let other = host.lockedBy { return "run \(other) changes it" }
            guard host.mark == mark else { return "run \(host.mark) changed it after it was planned" }
            host.lockedBy = number
            host.mark = number
            return ""
        }
        guard let answer else { return lost(name) }
        guard answer.isEmpty else { return Problem(target: name, status: .blocked, message: answer) }
        record.withLock { _ = $0.locked.insert(name) }
        return nil
    }

    private func unlock(_ name: String, _ outcomes: [(Action, ActionOutcome)]) async {
        record.withLock { record in
            record.concluded[name, default: 0] += 1
            let missing = Set((record.plan?.actions ?? []).map(\.address).filter { $0.target == name }).subtracting(outcomes.map(\.0.address))
            if !missing.isEmpty { record.violations.append("\(name) was concluded without \(missing)") }
        }
        record.withLock { _ = $0.locked.remove(name) }
        _ = await ask(name) { if $0.lockedBy == number { $0.lockedBy = nil } }
    }

    private func willStart(_ action: Action) -> Problem? {
        if let diskFullAt, simulation.now >= diskFullAt {
            return Problem(target: action.address.target, status: .blocked, message: "no space left on device")
        }
        record.withLock { _ = $0.started.insert(action.address) }
        return nil
    }

    private func didEnd(_ action: Action, _ outcome: ActionOutcome) {
        record.withLock { record in
            if record.ended.updateValue(outcome, forKey: action.address) != nil { record.violations.append("\(action.address) ended twice") }
        }
    }
}
