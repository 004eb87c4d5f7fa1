package import ResourceModel

/// How one target is asked: given by Composition, so that the engine holds no connection.
///
/// Never throws and never waits without end: what went wrong is a `TargetObservation.failed`.
package typealias TargetObserver = @Sendable (Target, [DesiredResource]) async -> TargetObservation

/// Asks all targets what is live, at most `concurrency` at a time.
///
/// - Guarantees: one call of `observer` a target that has resources; a slow or dead target delays no other beyond its slot.
/// - Parameter progress: called once a target as it answers, in order of arrival.
package func observe(
    _ desired: DesiredState,
    concurrency: Int,
    observer: @escaping TargetObserver,
    progress: (Target, TargetObservation) -> Void = { _, _ in }
) async -> ObservedState {
    var waiting = desired.resourcesByTarget().makeIterator()
    return await withTaskGroup(of: (Target, TargetObservation).self) { group in
        func startNext() {
            guard let (target, resources) = waiting.next() else { return }
            group.addTask { (target, await observer(target, resources)) }
        }
        for _ in 0..<max(1, concurrency) { startNext() }
        var state = ObservedState()
        while let (target, observation) = await group.next() {
            startNext()
            state.targets[target.name] = observation
            progress(target, observation)
        }
        return state
    }
}
