import DriftDetection
package import Observing
package import Planning
package import ResourceModel
import Synchronization

/// What Applying needs of the world; given by Composition.
package struct ApplyCollaborators: Sendable {
    /// Carries out one action's steps in order and stops at the first that fails; nil: all went through.
    package var execute: @Sendable (Target, Action) async -> Problem?
    /// The same for an action that may cut the connection: arms its undo at the target, makes the change, and keeps it only if the target can be
    /// reached anew and is as declared then. nil: there is no such way, and `execute` has to do.
    package var executeRisky: (@Sendable (Target, Action, _ look: @escaping @Sendable () async -> ChangedState) async -> RiskyEnding)?
    package var observe: TargetObserver
    /// Waits until an object is ready, as its kind understands it; nil: it is. Kinds without readiness answer nil at once.
    package var awaitReadiness: @Sendable (Target, ResourceAddress, Duration) async -> String?
    /// Called once a target, before the first of its actions starts: takes what is held as long as it is changed (a lock) and writes down what
    /// Plumb will hold there. A problem: nothing of that target is started.
    package var prepare: @Sendable (Target, [Action]) async -> Problem?
    /// Called once for each target that `prepare` was called for, after its last action has ended: says what Plumb holds now, gives the lock back.
    package var conclude: @Sendable (Target, [(Action, ActionOutcome)]) async -> Void
    /// Writes down that an action is about to start; a problem: it could not be, and the action is not started.
    package var willStart: @Sendable (Action) async -> Problem?
    /// Writes down how an action ended, also one that was never started.
    package var didEnd: @Sendable (Action, ActionOutcome) async -> Void

    package init(
        execute: @escaping @Sendable (Target, Action) async -> Problem?,
        executeRisky: (@Sendable (Target, Action, _ look: @escaping @Sendable () async -> ChangedState) async -> RiskyEnding)? = nil,
        observe: @escaping TargetObserver,
        awaitReadiness: @escaping @Sendable (Target, ResourceAddress, Duration) async -> String?,
        prepare: @escaping @Sendable (Target, [Action]) async -> Problem? = { _, _ in nil },
        conclude: @escaping @Sendable (Target, [(Action, ActionOutcome)]) async -> Void = { _, _ in },
        willStart: @escaping @Sendable (Action) async -> Problem? = { _ in nil },
        didEnd: @escaping @Sendable (Action, ActionOutcome) async -> Void = { _, _ in }
    ) {
        self.execute = execute
        self.executeRisky = executeRisky
        self.observe = observe
        self.awaitReadiness = awaitReadiness
        self.prepare = prepare
        self.conclude = conclude
        self.willStart = willStart
        self.didEnd = didEnd
    }
}

package struct ApplyOptions: Sendable {
    /// Targets changed at the same time.
    package var concurrency: Int
    /// How long an object that others depend on may take to become ready.
    package var dependencyReadiness: Duration
    /// With `--wait`: how long every changed object may take to become ready; nil: not waited for.
    package var wait: Duration?
    /// Once true, what runs is finished and observed, and nothing new is started.
    package var isInterrupted: @Sendable () -> Bool

    package init(
        concurrency: Int = 16,
        dependencyReadiness: Duration = .seconds(120),
        wait: Duration? = nil,
        isInterrupted: @escaping @Sendable () -> Bool = { false }
    ) {
        self.concurrency = concurrency
        self.dependencyReadiness = dependencyReadiness
        self.wait = wait
        self.isInterrupted = isInterrupted
    }
}

/// Carries a plan out.
///
/// - Flow: ready actions of one target run one after another, then the target is observed again, and only what is now as declared has
///   succeeded; then what depends on them runs.
/// - Guarantees: every action ends in exactly one of succeeded, failed, rolledBack, skipped; success is never inferred from an exit status. No action
///   starts before `willStart` has agreed to it, and each has one `didEnd`.
/// - Errors: none are thrown; what went wrong is an event and a count in the summary.
package func apply(
    _ plan: Plan,
    desired: DesiredState,
    kinds: [RegisteredKind],
    collaborators: ApplyCollaborators,
    options: ApplyOptions,
    report: @escaping @Sendable (ApplyEvent) -> Void
) async -> ApplySummary {
    var summary = ApplySummary()
    summary.planned = plan.actions.count
    summary.problems = plan.problems.count
    for action in plan.actions { report(.planned(action.address, action.operation.rawValue)) }

    let targets = Dictionary(desired.targets.map { ($0.name, $0) }) { first, _ in first }
    let run = BatchRun(
        resources: Dictionary(grouping: desired.resources, by: \.address.target),
        kinds: Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first },
        collaborators: collaborators,
        options: options,
        dependedOn: Set(plan.actions.flatMap(\.dependsOn)),
        report: report
    )
    var schedule = ApplySchedule(plan.actions, limit: options.concurrency)
    let counts = Mutex(summary)
    let planned = Dictionary(grouping: plan.actions, by: \.address.target)
    let ended = Mutex<[String: [(Action, ActionOutcome)]]>([:])
    // The targets that were prepared, each with what was in the way.
    var prepared: [String: Problem?] = [:]

    @Sendable func count(_ action: Action, _ outcome: ActionOutcome) async {
        await collaborators.didEnd(action, outcome)
        let address = action.address
        ended.withLock { $0[address.target, default: []].append((action, outcome)) }
        switch outcome {
        case .succeeded(let message):
            counts.withLock { $0.succeeded += 1 }
            report(.succeeded(address, message))
        case .failed(let message):
            counts.withLock { $0.failed += 1 }
            report(.failed(address, message))
        case .skipped(let message):
            counts.withLock { $0.skipped += 1 }
            report(.skipped(address, message))
        case .rolledBack(let message):
            counts.withLock { $0.rolledBack += 1 }
            report(.rolledBack(address, message))
        }
    }

    await withTaskGroup(of: BatchEnding?.self) { group in
        func startReady() async {
            guard !options.isInterrupted() else {
                for action in schedule.abandon() { await count(action, .skipped("interrupted before it was started")) }
                return
            }
            for batch in schedule.start() {
                guard let target = targets[batch.target] else { continue }
                let known = prepared[batch.target]
                let all = planned[batch.target] ?? []
                group.addTask {
                    let problem = if let known { known } else { await collaborators.prepare(target, all) }
                    if let problem {
                        let skipped = ActionOutcome.skipped("not started: \(problem.message)")
                        let outcomes = batch.actions.map { ($0.address, skipped) }
                        return BatchEnding(batch: batch, outcomes: Dictionary(uniqueKeysWithValues: outcomes), problem: problem)
                    }
                    return BatchEnding(batch: batch, outcomes: await run.carryOut(batch, at: target))
                }
            }
        }
        func concludeFinished() {
            for name in prepared.keys where !schedule.hasActions(of: name) {
                prepared[name] = nil
                guard let target = targets[name] else { continue }
                let outcomes = ended.withLock { $0[name] ?? [] }
                group.addTask {
                    await collaborators.conclude(target, outcomes)
                    return nil
                }
            }
        }
        await startReady()
        while let ending = await group.next() {
            guard let ending else { continue }
            let batch = ending.batch
            prepared[batch.target] = .some(ending.problem)
            var failed: Set<ResourceAddress> = []
            for action in batch.actions {
                let outcome = ending.outcomes[action.address] ?? .failed("ended without an outcome; this is a mistake in Plumb, please report it")
                await count(action, outcome)
                if case .succeeded = outcome { continue }
                failed.insert(action.address)
            }
            for (action, reason) in schedule.finish(batch, failed: failed) { await count(action, .skipped(reason)) }
            await startReady()
            concludeFinished()
        }
    }
    summary = counts.withLock { $0 }
    report(.summary(summary))
    return summary
}

/// How one batch ended.
private struct BatchEnding: Sendable {
    var batch: ApplySchedule.Batch
    var outcomes: [ResourceAddress: ActionOutcome]
    /// Why its target could not be prepared; nothing was started then.
    var problem: Problem?
}

/// What all batches of one apply share.
struct BatchRun: Sendable {
    var resources: [String: [DesiredResource]]
    var kinds: [String: RegisteredKind]
    var collaborators: ApplyCollaborators
    var options: ApplyOptions
    var dependedOn: Set<ResourceAddress>
    var report: @Sendable (ApplyEvent) -> Void

    func carryOut(_ batch: ApplySchedule.Batch, at target: Target) async -> [ResourceAddress: ActionOutcome] {
        var failures: [ResourceAddress: Problem] = [:]
        var outcomes: [ResourceAddress: ActionOutcome] = [:]
        var undone: [ResourceAddress: String] = [:]
        var lost: Problem?
        for action in batch.actions {
            if let lost {
                // The target is gone: trying the rest would only add time-outs.
                outcomes[action.address] = .skipped("not started: \(lost.message)")
                continue
            }
            // A batch can be all that is planned for a cluster.
            if options.isInterrupted() {
                outcomes[action.address] = .skipped("interrupted before it was started")
                continue
            }
            if let problem = await collaborators.willStart(action) {
                outcomes[action.address] = .skipped("not started: \(problem.message)")
                continue
            }
            report(.started(action.address))
            var problem: Problem?
            if action.risk == .disconnecting, let executeRisky = collaborators.executeRisky {
                switch await executeRisky(target, action, { await look(at: action, target: target) }) {
                case .confirmed: break
                case .refused(let why): problem = why
                case .undone(let why): undone[action.address] = why
                case .unknown(let why):
                    problem = why
                    undone[action.address] = why.message
                }
            } else {
                problem = await collaborators.execute(target, action)
            }
            guard let problem else { continue }
            failures[action.address] = problem
            if problem.status == .unreachable { lost = problem }
        }
        var tried = batch
        tried.actions.removeAll { outcomes[$0.address] != nil }
        if tried.actions.isEmpty { return outcomes }
        outcomes.merge(await verify(tried, at: target, failures: failures, undone: undone)) { $1 }
        for action in batch.actions {
            // Hosts know no readiness: what was observed there is all there is.
            guard case .cluster = target, case .succeeded(let message)? = outcomes[action.address], action.operation != .delete else { continue }
            let limit = options.wait ?? (dependedOn.contains(action.address) ? options.dependencyReadiness : nil)
            guard let limit else { continue }
            if let waiting = await collaborators.awaitReadiness(target, action.address, limit) {
                outcomes[action.address] = .failed("applied, but not ready after \(limit.inSeconds): \(waiting)")
            } else {
                outcomes[action.address] = .succeeded(message.isEmpty ? "ready" : message)
            }
        }
        return outcomes
    }

    private func verify(
        _ batch: ApplySchedule.Batch,
        at target: Target,
        failures: [ResourceAddress: Problem],
        undone: [ResourceAddress: String]
    ) async -> [ResourceAddress: ActionOutcome] {
        switch await observe(batch, at: target) {
        case .failure(let problem):
            return batch.actions.reduce(into: [:]) { outcomes, action in
                let before = (failures[action.address]?.message ?? undone[action.address]).map { "\($0); " } ?? ""
                outcomes[action.address] = .failed("\(before)the result could not be observed: \(problem.message)")
            }
        case .success(let drift):
            let byAddress = Dictionary(drift.map { ($0.address, $0) }) { first, _ in first }
            return batch.actions.reduce(into: [:]) { outcomes, action in
                let after = byAddress[action.address]
                if let why = undone[action.address] {
                    outcomes[action.address] = outcome(ofUndone: action, after: after, all: drift, why: why)
                } else {
                    outcomes[action.address] = outcome(of: action, after: after, all: drift, failure: failures[action.address])
                }
            }
        }
    }

    func observe(_ batch: ApplySchedule.Batch, at target: Target) async -> Result<[ResourceDrift], Problem> {
        let all = resources[batch.target] ?? []
        let touched: [DesiredResource]
        switch target {
        case .host:
            // One probe reads everything, and a chain's address is not the one its spec has.
            touched = all
        case .cluster:
            let addresses = Set(batch.actions.map(\.address))
            touched = all.filter { addresses.contains($0.address) }
        }
        switch await collaborators.observe(target, touched) {
        case .failed(let problem): return .failure(problem)
        case .observed(let facts): return .success(detectDrift(resources: touched, facts: facts, kinds: kinds))
        }
    }

    func outcome(of action: Action, after: ResourceDrift?, all: [ResourceDrift], failure: Problem?) -> ActionOutcome {
        let cause = failure.map { "\($0.message)" }
        switch after?.standing {
        case .inSync:
            return .succeeded(cause.map { "is as declared, although a step failed: \($0)" } ?? "")
        case nil:
            // A chain that is gone has no address any more. That counts only if its table could be read.
            let unread = all.first { resource in
                guard case .problem(let status, _) = resource.standing else { return false }
                return resource.handler == action.handler && status.preventsReading
            }
            if case .problem(_, let message)? = unread?.standing { return .failed("the result could not be observed: \(message)") }
            return action.operation == .delete
                ? .succeeded(cause.map { "is gone, although a step failed: \($0)" } ?? "")
                : .failed(cause ?? "it is no longer there")
        case .problem(let status, let message):
            return .failed([cause, "\(status.rawValue): \(message)"].compactMap(\.self).joined(separator: "; "))
        case .missing, .differs, .surplus:
            let fields = (after?.differences ?? []).map(\.path).joined(separator: ", ")
            return .failed(cause ?? "all steps went through, but it still differs\(fields.isEmpty ? "" : " in \(fields)")")
        }
    }
}

extension Duration {
    fileprivate var inSeconds: String { "\(components.seconds) s" }
}
