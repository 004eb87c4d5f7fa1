import Applying
import ArgumentParser
import Foundation
import Planning
import Reporting
import ResourceModel
import Stores
import Synchronization

/// What is kept of one apply: the lock that makes it the only one here, and its run in the journal.
final class ApplyRecord: Sendable {
    private struct State {
        var run: Int64?
        /// What is written down with the first action that starts.
        var pending: (RunStart, [ActionStart])?
        /// Why nothing can be written down any more; from then on nothing is started.
        var lost: StoreFailure?
        var started: [ResourceAddress: ContinuousClock.Instant] = [:]
    }

    let journal: Journal
    private let lock: ApplyLock
    private let holder: LockHolder
    /// `apply`, `release`, `accept`.
    private let command: String
    private let source: String
    /// Tells a person, whole lines.
    private let say: @Sendable (String) -> Void
    private let now: @Sendable () -> Date
    private let state = Mutex(State())

    /// A record beside others of the same process, which share journal and lock: the controller's.
    init(
        journal: Journal,
        lock: ApplyLock,
        holder: LockHolder,
        command: String,
        source: String,
        say: @escaping @Sendable (String) -> Void,
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.journal = journal
        self.lock = lock
        self.holder = holder
        self.command = command
        self.source = source
        self.say = say
        self.now = now
    }

    /// Takes the lock, opens the journal, and says what an apply that died before left under way.
    ///
    /// - Throws: exit status 1, after the reason was printed: an apply that can't be recorded does not start.
    static func open(
        command: String = "apply",
        source: String,
        options: SharedOptions,
        terminal: Terminal,
        now: @escaping @Sendable () -> Date = { Date() }
    ) async throws -> ApplyRecord {
        let source = Source.shown(source)
        do throws(StoreFailure) {
            let directory = try DataDirectory(creating: try options.dataDirectory.requiredPath())
            let caller = Caller.current(environment: ProcessInfo.processInfo.environment)
            let holder = LockHolder(caller: caller, since: now(), command: "plumb \(command) \(source)")
            switch try ApplyLock.take(in: directory, for: holder) {
            case .held(let other): throw StoreFailure.locked(by: other, now: now())
            case .taken(let lock):
                let journal = try Journal.open(in: directory)
                let record = ApplyRecord(
                    journal: journal,
                    lock: lock,
                    holder: holder,
                    command: command,
                    source: source,
                    say: { terminal.writeError($0) },
                    now: now
                )
                try await record.closeInterruptedRuns()
                return record
            }
        } catch {
            throw terminal.failed(error, "nothing was contacted, nothing was changed")
        }
    }

    /// Says what an apply that died before left under way, and writes down that it did.
    func closeInterruptedRuns() async throws(StoreFailure) {
        for run in try await journal.openRuns() {
            let start = run.start
            let who = "the \(start.command) of \(start.started.shown) by \(start.caller.description)"
            // Only after an unlock that was a mistake; that apply stops by itself before its next action.
            if start.caller.process.liveness == .alive {
                say("note: \(Escaping.shown(who)) seems to be under way still (run \(run.id))\n")
                continue
            }
            let underWay = try await journal.actions(of: run.id).filter(\.isUnderWay).map(\.start.address)
            let what: String
            switch underWay.count {
            case 0: what = "nothing was under way"
            case 1...5: what = "under way was \(underWay.joined(separator: ", "))"
            default: what = "under way were \(underWay.prefix(5).joined(separator: ", ")) and \(underWay.count - 5) more"
            }
            say("note: \(Escaping.shown("\(who) ended without a word; \(what)"))\n")
            say("    Everything is observed anew. 'plumb history \(run.id)' shows what that run was about.\n")
            try await journal.closeInterrupted(run.id, at: now())
        }
    }

    /// Writes down what is going to be done.
    ///
    /// - Parameter withFirst: Only together with the first action that starts, which saves a write; for who does not need the run's number before.
    func begin(_ plan: Plan, withFirst: Bool = false) async throws(StoreFailure) {
        let start = RunStart(
            command: command,
            source: source,
            revision: plan.revision,
            planID: plan.planID,
            caller: holder.caller,
            started: now()
        )
        let actions = plan.actions.map(ActionStart.init)
        if withFirst { return state.withLock { $0.pending = (start, actions) } }
        let run = try await journal.begin(start, actions: actions)
        state.withLock { $0.run = run }
        var named = holder
        named.run = run
        try lock.write(named)
    }

    /// Writes down what waited for the first action.
    private func writePending(starting first: (address: String, time: Date)? = nil) async throws(StoreFailure) -> Bool {
        guard let (start, actions) = state.withLock({ $0.pending.take() }) else { return false }
        let run = try await journal.begin(start, actions: actions, starting: first)
        state.withLock { $0.run = run }
        return true
    }

    /// nil: it is written down and may start.
    func willStart(_ action: Action) async -> Problem? {
        do throws(StoreFailure) {
            if let lost = state.withLock({ $0.lost }) { throw lost }
            guard state.withLock({ $0.run != nil || $0.pending != nil }) else { return nil }
            guard lock.isHeld else {
                throw StoreFailure(
                    "the lock was taken away from this apply, by 'plumb unlock' or by hand",
                    fix: "Apply again, once nobody else does."
                )
            }
            let address = action.address.description
            if try await !writePending(starting: (address, now())), let run {
                try await journal.start(address, of: run, at: now())
            }
            state.withLock { $0.started[action.address] = .now }
            return nil
        } catch {
            lose(error)
            return Problem(target: action.address.target, address: action.address, status: .blocked, message: error.message)
        }
    }

    func didEnd(_ action: Action, _ outcome: ActionOutcome) async {
        let (began, isLost) = state.withLock { ($0.started.removeValue(forKey: action.address), $0.lost != nil) }
        guard !isLost else { return }
        let (word, message) = outcome.recorded
        do throws(StoreFailure) {
            _ = try await writePending()
            guard let run else { return }
            try await journal.end(
                action.address.description,
                of: run,
                outcome: word,
                message: message,
                at: now(),
                took: began.map { .now - $0 }
            )
        } catch {
            lose(error)
        }
    }

    /// Writes down how it all ended.
    ///
    /// - Returns: false where the journal was lost on the way; that has been said.
    func end(_ summary: ApplySummary, saying message: String? = nil) async -> Bool {
        guard let run = state.withLock({ $0.run }) else { return true }
        do throws(StoreFailure) {
            try await journal.end(run, outcome: summary.isComplete ? .complete : .incomplete, message: message ?? summary.sentence, at: now())
        } catch {
            lose(error)
        }
        guard let lost = state.withLock({ $0.lost }) else { return true }
        say("\nerror: \(Escaping.shown(lost.message)); what was under way was finished, nothing new was started\n")
        say("    The journal's run \(run) may lack what is reported above. \(Escaping.shown(lost.fix))\n")
        return false
    }

    func close() { lock.release() }

    /// The number of this run in the journal, once it has one.
    var run: Int64? { state.withLock { $0.run } }

    var caller: Caller { holder.caller }

    /// From now on nothing is started: what is done could not be written down.
    func lose(_ failure: StoreFailure) {
        state.withLock { if $0.lost == nil { $0.lost = failure } }
    }
}

extension ActionStart {
    init(_ action: Action) {
        self.init(
            address: action.address.description,
            kind: action.kind,
            operation: action.operation.rawValue,
            fingerprint: action.fingerprint,
            fields: action.fields.map { Field(path: $0.path, observed: $0.observed, desired: $0.desired) },
            steps: action.steps.map(\.summary)
        )
    }
}

extension ActionOutcome {
    fileprivate var recorded: (ActionRecord.Outcome, String) {
        switch self {
        case .succeeded(let message): (.succeeded, message)
        case .failed(let message): (.failed, message)
        case .rolledBack(let message): (.rolledBack, message)
        case .skipped(let message): (.skipped, message)
        }
    }
}

extension StoreFailure {
    /// Says who has the lock and what can be done about it.
    static func locked(by holder: LockHolder?, now: Date) -> StoreFailure {
        guard let holder else {
            return StoreFailure(
                "another apply is under way; who it is can't be read from its lock",
                fix: "Wait for it. Where no plumb is left that could hold it: plumb unlock --reason TEXT"
            )
        }
        let run = holder.run.map { ", run \($0)" } ?? ""
        let message =
            "another apply is under way: '\(holder.command)' of \(holder.caller.description), "
            + "since \(holder.since.shown) (\(holder.since.age(at: now)))\(run)"
        switch holder.caller.process.liveness {
        case .alive:
            return StoreFailure(message, fix: "Wait for it, or interrupt it (kill -INT \(holder.caller.process.pid)): it finishes what is under way.")
        case .dead:
            return StoreFailure(message, fix: "That process is gone, and its lock is not. If no plumb holds it: plumb unlock --reason TEXT")
        case .unknown:
            return StoreFailure(
                message,
                fix:
                    "That process is on another machine or in a container. Wait for it; only where you know that it is gone: plumb unlock --reason TEXT"
            )
        }
    }
}

extension Terminal {
    /// Prints a failure and what it means for the command; the command then throws what this returns.
    func failed(_ failure: StoreFailure, _ consequence: String = "") -> ExitCode {
        let end = consequence.isEmpty ? "" : "; \(consequence)"
        writeError("\(errors.errorWord): \(Escaping.shown(failure.message))\(end)\n    \(Escaping.shown(failure.fix))\n")
        return ExitCode(1)
    }
}

extension Date {
    /// `2026-08-01 10:21:05 UTC`.
    var shown: String { formatted(Self.style) + " UTC" }

    /// How long ago, roughly: `12 s`, `4 min`, `3 h`, `5 d`.
    func age(at now: Date) -> String {
        let seconds = max(0, Int(now.timeIntervalSince(self)))
        return switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    private static let style = Date.ISO8601FormatStyle(dateTimeSeparator: .space, timeZone: .gmt).year().month().day().time(
        includingFractionalSeconds: false
    )
}
