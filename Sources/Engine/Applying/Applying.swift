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
    /// Looks again at what was just changed at one target: these declared resources, and what no longer is declared and was taken away, which may
    /// take its time to be gone. nil: `observe` does.
    package var observeAgain: (@Sendable (Target, [DesiredResource], [Action]) async -> TargetObservation)?
    /// Waits until an object is ready, as its kind understands it, or until an interruption; nil: it is. Kinds without readiness answer nil at once.
    package var awaitReadiness: @Sendable (Target, ResourceAddress, Duration, _ isInterrupted: @Sendable () -> Bool) async -> String?
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
        observeAgain: (@Sendable (Target, [DesiredResource], [Action]) async -> TargetObservation)? = nil,
        awaitReadiness: @escaping @Sendable (Target, ResourceAddress, Duration, _ isInterrupted: @Sendable () -> Bool) async -> String?,
        prepare: @escaping @Sendable (Target, [Action]) async -> Problem? = { _, _ in nil },
        conclude: @escaping @Sendable (Target, [(Action, ActionOutcome)]) async -> Void = { _, _ in },
        willStart: @escaping @Sendable (Action) async -> Problem? = { _ in nil },
        didEnd: @escaping @Sendable (Action, ActionOutcome) async -> Void = { _, _ in }
    ) {
        self.execute = execute
        self.executeRisky = executeRisky
        self.observe = observe
        self.observeAgain = observeAgain
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
    /// How much of the fleet may be touched, and when to stop.
    package var budget: ApplyBudget
    /// What the comparison with a saved plan has counted before.
    package var counted: ApplySummary
    /// How long an object that others depend on may take to become ready.
    package var dependencyReadiness: Duration
    /// With `--wait`: how long every changed object may take to become ready; nil: not waited for.
    package var wait: Duration?
    /// Once true, what runs is finished and observed, and nothing new is started.
    package var isInterrupted: @Sendable () -> Bool

    package init(
        concurrency: Int = 16,
        budget: ApplyBudget = ApplyBudget(),
        counted: ApplySummary = ApplySummary(),
        dependencyReadiness: Duration = .seconds(120),
        wait: Duration? = nil,
        isInterrupted: @escaping @Sendable () -> Bool = { false }
    ) {
        self.concurrency = concurrency
        self.budget = budget
        self.counted = counted
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
    var summary = options.counted
    summary.planned += plan.actions.count
    summary.problems = plan.problems.count
    for action in plan.actions { report(.planned(action.address, action.operation.rawValue)) }
    if let refusal = plan.refusal {
        for action in plan.actions {
            summary.skipped += 1
            await collaborators.didEnd(action, .skipped(refusal))
            report(.skipped(action.address, refusal))
        }
        report(.summary(summary))
        return summary
    }

    let targets = Dictionary(desired.targets.map { ($0.name, $0) }) { first, _ in first }
    let run = BatchRun(
        resources: Dictionary(grouping: desired.resources, by: \.address.target),
        kinds: Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first },
        collaborators: collaborators,
        options: options,
        dependedOn: Set(plan.actions.flatMap(\.dependsOn)),
        report: report
    )
    let hosts = Set(desired.targets.compactMap { if case .host(let host) = $0 { host.name } else { nil } })
    let clusters = Set(targets.keys).subtracting(hosts)
    var schedule = ApplySchedule(plan.actions, limit: options.concurrency, budget: options.budget, hosts: hosts, clusters: clusters)
    let counts = Mutex(summary)
    let planned = Dictionary(grouping: plan.actions, by: \.address.target)
    let ended = Mutex<[String: [(Action, ActionOutcome)]]>([:])
    var lastLook = LastLook(unchanged: plan.unchanged)
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

    await withTaskGroup(of: Ended.self) { group in
        func startReady() async {
            guard !options.isInterrupted() else {
                for action in schedule.abandon() { await count(action, .skipped(interrupted)) }
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
                        return .batch(batch, BatchResult(outcomes: Dictionary(uniqueKeysWithValues: outcomes)), problem)
                    }
                    return .batch(batch, await run.carryOut(batch, at: target), nil)
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
                    return .concluded
                }
            }
        }
        for dependency in schedule.awaited.sorted() {
            guard let target = targets[dependency.target] else { continue }
            group.addTask {
                .ready(dependency, await collaborators.awaitReadiness(target, dependency, options.dependencyReadiness, options.isInterrupted))
            }
        }
        await startReady()
        while let ended = await group.next() {
            switch ended {
            case .concluded: continue
            case .ready(let address, let missing):
                let failure = missing.map { "waits for \(address), which is as declared and not ready: \($0)" }
                for (action, reason) in schedule.resolve(address, failure: failure) { await count(action, .skipped(reason)) }
            case .batch(let batch, let result, let problem):
                prepared[batch.target] = .some(problem)
                var failed: Set<ResourceAddress> = []
                var notRun: Set<ResourceAddress> = []
                for action in batch.actions {
                    let outcome = result.outcomes[action.address] ?? .failed("ended without an outcome; this is a mistake in Plumb, please report it")
                    await count(action, outcome)
                    switch outcome {
                    case .succeeded: break
                    case .failed, .rolledBack: failed.insert(action.address)
                    case .skipped: notRun.insert(action.address)
                    }
                }
                let succeeded = batch.actions.map(\.address).filter { !failed.contains($0) && !notRun.contains($0) }
                lastLook.note(result.seen, succeeded: succeeded)
                for (action, reason) in schedule.finish(batch, failed: failed, notRun: notRun) { await count(action, .skipped(reason)) }
            }
            await startReady()
            concludeFinished()
        }
    }
    for (address, message) in lastLook.drifted {
        counts.withLock { $0.drifted += 1 }
        report(.drifted(address, message))
    }
    summary = counts.withLock { $0 }
    report(.summary(summary))
    return summary
}

let interrupted = "interrupted before it was started"

/// What the loop of an apply waits for.
private enum Ended: Sendable {
    /// With why its target could not be prepared; nothing was started then.
    case batch(ApplySchedule.Batch, BatchResult, Problem?)
    /// Something that is as declared already and that others depend on; nil: it is ready.
    case ready(ResourceAddress, String?)
    case concluded
}
