package import DriftDetection
package import Observing
package import Planning
package import ResourceModel

/// One pass over a revision of the specs, up to the plan: observe, compare, decide. Writes nothing.
///
/// `plan`, `apply`, the controller and the pull-request report all come through here.
package struct Pass: Sendable {
    package var desired: DesiredState
    package var kinds: [RegisteredKind]
    package var revision: String?
    package var source: String
    package var selection: Selection
    /// Targets asked at the same time.
    package var concurrency: Int
    /// What the inventory says Plumb has changed on hosts.
    package var held: [HeldSetting] = []
    /// Says of all that is no longer declared that it is, and not just the first time.
    package var repeatsOrphans = false
    /// `--max-deletes`.
    package var maxDeletes: Int

    package init(
        desired: DesiredState,
        kinds: [RegisteredKind],
        revision: String? = nil,
        source: String,
        selection: Selection = Selection(),
        concurrency: Int,
        maxDeletes: Int = defaultMaxDeletes
    ) {
        self.desired = desired
        self.kinds = kinds
        self.revision = revision
        self.source = source
        self.selection = selection
        self.concurrency = concurrency
        self.maxDeletes = maxDeletes
    }

    /// What has to be asked for this pass.
    package var observedPart: DesiredState { selection.narrowed(desired) }

    /// Asks the targets and plans.
    ///
    /// - Parameters:
    ///   - undoObstacle: asked of each target at which something may cut the connection: why no undo could be armed there; nil: it could.
    ///   - progress: called once a target as it answers.
    package func plan(
        observer: @escaping TargetObserver,
        undoObstacle: (@Sendable (Target) async -> String?)? = nil,
        progress: (Target, TargetObservation) -> Void = { _, _ in }
    ) async -> Plan {
        let part = observedPart
        let observed = await observe(part, concurrency: concurrency, observer: observer, progress: progress)
        let plan = plan(part, observed: observed)
        let risky = Set(plan.actions.filter { $0.risk == .disconnecting }.map(\.address.target))
        guard let undoObstacle, !risky.isEmpty else { return plan }
        let obstacles = await withTaskGroup(of: (String, String?).self) { group in
            for target in part.targets where risky.contains(target.name) { group.addTask { (target.name, await undoObstacle(target)) } }
            return await group.reduce(into: [String: String]()) { $0[$1.0] = $1.1 }
        }
        return obstacles.isEmpty ? plan : self.plan(part, observed: observed, undoObstacles: obstacles)
    }

    /// Plans from what was observed already. Synchronous and deterministic.
    ///
    /// - Parameter undoObstacles: By target, why no undo could be armed there.
    package func plan(_ part: DesiredState, observed: ObservedState, undoObstacles: [String: String] = [:]) -> Plan {
        plan(drift(part, observed: observed), undoObstacles: undoObstacles)
    }

    /// How what was observed stands to what is declared, as far as it is selected.
    package func drift(_ part: DesiredState, observed: ObservedState) -> Drift {
        var drift = selection.narrowed(detectDrift(desired: part, observed: observed, kinds: kinds))
        drift.notes += orphanNotes(observed)
        return drift
    }

    /// What would end this drift. Synchronous and deterministic.
    package func plan(_ drift: Drift, undoObstacles: [String: String] = [:]) -> Plan {
        var plan = Planning.plan(
            drift,
            kinds: kinds,
            contentHash: desired.contentHash,
            revision: revision,
            source: source,
            maxDeletes: maxDeletes,
            undoObstacles: undoObstacles
        )
        plan.selection = selection.globs.map(\.pattern)
        return plan
    }

    /// Of each setting that is no longer declared. A target that gave no answer may be another one by now: nothing is said of it.
    private func orphanNotes(_ observed: ObservedState) -> [String] {
        orphans(of: held, in: desired, kinds: kinds).compactMap { setting in
            if case .failed? = observed.targets[setting.address.target] { return nil }
            guard selection.globs.isEmpty || selection.globs.contains(where: { $0.matches(setting.address) }) else { return nil }
            return setting.unreported(repeats: repeatsOrphans)?.orphanNote
        }
    }
}
