package import Applying
package import Planning
package import ResourceModel

/// A revision of the specs that is good: read, checked, allowed.
package struct Revision: Sendable {
    /// 40 hexadecimal digits; nil: the source is a folder.
    package var commit: String?
    package var desired: DesiredState
    /// What a person should know: the branch was force-pushed, for one.
    package var notes: [String]

    package init(commit: String?, desired: DesiredState, notes: [String] = []) {
        self.commit = commit
        self.desired = desired
        self.notes = notes
    }

    /// For people: the commit's first digits, or those of the files' hash.
    package var label: String { String((commit ?? desired.contentHash).prefix(12)) }
}

/// What came of asking the source.
package enum Fetched: Sendable {
    /// It is still what it was.
    case unchanged
    case loaded(Revision)
    /// There is another revision, and it is not to be followed: its mistakes, or why it is refused. What was in force stays in force.
    case refused(commit: String?, [String])
    /// The source gave no answer.
    case failed(String)
}

/// What happens at a target.
package enum TargetEvent: Sendable {
    /// It can be followed (again): what happened meanwhile is not known.
    case connected
    /// These may have changed; an address may be a glob.
    case touched([ResourceAddress])
    /// It can't be followed at the moment.
    case lost(String)
    /// The server ended a watch, which went on or began anew.
    case restarted(String)
}

/// What the controller needs of the world; given by `plumb run`.
package struct ControllerCollaborators: Sendable {
    /// Asks the source.
    /// - Parameters:
    ///   - known: The revision in force, so that an unchanged source costs little.
    ///   - expecting: A commit that was announced and may not be there yet.
    package var fetch: @Sendable (_ known: Revision?, _ expecting: String?) async -> Fetched
    /// Looks at a target from scratch, with all resources declared there.
    package var observe: @Sendable (Target, [DesiredResource]) async -> TargetObservation
    /// Looks at a part of a target: what an event was about, and what that depends on.
    package var observePart: @Sendable (Target, [DesiredResource]) async -> TargetObservation
    package var undoObstacle: @Sendable (Target) async -> String?
    /// Says what happens at a target until it is cancelled; reconnects by itself.
    package var follow: @Sendable (Target, [DesiredResource], @escaping @Sendable (TargetEvent) -> Void) async -> Void
    /// Carries out a plan of one target, written down and with the target kept from others.
    package var apply:
        @Sendable (Plan, DesiredState, _ isInterrupted: @escaping @Sendable () -> Bool, @escaping @Sendable (ApplyEvent) -> Void) async ->
            ApplySummary
    /// What Plumb has changed on hosts.
    package var held: @Sendable () -> [HeldSetting]
    package var kinds: [RegisteredKind]

    package init(
        fetch: @escaping @Sendable (_ known: Revision?, _ expecting: String?) async -> Fetched,
        observe: @escaping @Sendable (Target, [DesiredResource]) async -> TargetObservation,
        observePart: @escaping @Sendable (Target, [DesiredResource]) async -> TargetObservation,
        undoObstacle: @escaping @Sendable (Target) async -> String? = { _ in nil },
        follow: @escaping @Sendable (Target, [DesiredResource], @escaping @Sendable (TargetEvent) -> Void) async -> Void,
        apply:
            @escaping @Sendable (
                Plan, DesiredState, _ isInterrupted: @escaping @Sendable () -> Bool, @escaping @Sendable (ApplyEvent) -> Void
            ) async -> ApplySummary,
        held: @escaping @Sendable () -> [HeldSetting] = { [] },
        kinds: [RegisteredKind]
    ) {
        self.fetch = fetch
        self.observe = observe
        self.observePart = observePart
        self.undoObstacle = undoObstacle
        self.follow = follow
        self.apply = apply
        self.held = held
        self.kinds = kinds
    }
}
