package import Applying
package import Planning
package import Reconciling
package import ResourceModel

/// A revision of the specs that is good: read, checked, allowed.
package struct Revision: Sendable {
    /// 40 hexadecimal digits; nil: the source is a folder.
    package var commit: String?
    /// `refs/heads/main`, where the source says so.
    package var ref: String?
    package var desired: DesiredState
    /// What a person should know: the branch was force-pushed, for one.
    package var notes: [String]
    /// How much its files come to.
    package var amount = SpecAmount()

    package init(commit: String?, ref: String? = nil, desired: DesiredState, notes: [String] = []) {
        self.commit = commit
        self.ref = ref
        self.desired = desired
        self.notes = notes
    }

    /// For people: the commit's first digits, or those of the files' hash.
    package var label: String { String((commit ?? desired.contentHash).prefix(12)) }
}

/// How much the files of a revision come to: those of a stranger's may be somewhat more, and no more.
package struct SpecAmount: Sendable, Hashable {
    package var files = 0
    package var bytes = 0
    package var largestFile = 0

    package init(files: Int = 0, bytes: Int = 0, largestFile: Int = 0) {
        self.files = files
        self.bytes = bytes
        self.largestFile = largestFile
    }
}

/// What others than the controller may want to know.
package enum ControllerNews: Sendable, Hashable {
    /// Another revision is in force.
    case revision
    /// Every target that answers was looked at since.
    case settled
    /// A pass has changed something, or found something else than the one before it.
    case changed(target: String)
    case leading(Bool)
}

/// What came of asking the source.
package indirect enum Fetched: Sendable {
    /// It is still what it was.
    case unchanged
    case loaded(Revision)
    /// There is another revision, and it is not to be followed: its mistakes, or why it is refused. What was in force stays in force.
    case refused(commit: String?, [String])
    /// The newest one is refused, or the source gives no answer, as is said there; this is the last good one, from before the controller was started.
    case loadedInstead(Revision, because: Fetched)
    /// The source gave no answer.
    case failed(String)

    /// Whether it should be asked again before long.
    var isFailure: Bool {
        switch self {
        case .failed: true
        case .loadedInstead(_, let why): why.isFailure
        case .unchanged, .loaded, .refused: false
        }
    }
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

/// What a look at a part of a target has shown.
package enum PartObservation: Sendable {
    /// - Parameter judged: What was seen; of the others something newer was seen before.
    case judged(TargetObservation, Set<ResourceAddress>)
    /// All that was asked for was seen.
    case observed(TargetObservation)
    /// Only a look at everything can tell, and why.
    case needsWhole(String)
}

package struct PausesUnknown: Error, Sendable {
    package var message: String

    package init(_ message: String) { self.message = message }
}

/// What outlives the process: another one goes on with it.
package struct ControllerMemory: Sendable, Codable, Equatable {
    /// The last revision that was good.
    package var commit: String?
    /// Where it was found, `refs/heads/main`: the commit alone does not tell.
    package var ref: String?
    /// Whether it had specs: then an empty one is most likely a mistake.
    package var hadSpecs: Bool
    package var fights: Fights

    package init(commit: String? = nil, ref: String? = nil, hadSpecs: Bool = false, fights: Fights = Fights()) {
        self.commit = commit
        self.ref = ref
        self.hadSpecs = hadSpecs
        self.fights = fights
    }
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
    package var observePart: @Sendable (Target, [DesiredResource]) async -> PartObservation
    /// What people have paused at this time; a failure: it can't be known, and nothing is changed.
    package var pauses: @Sendable () -> Result<[Pause], PausesUnknown>
    package var undoObstacle: @Sendable (Target) async -> String?
    /// Says what happens at a target until it is cancelled; reconnects by itself.
    package var follow: @Sendable (Target, [DesiredResource], @escaping @Sendable (TargetEvent) -> Void) async -> Void
    /// What a target can't tell about by itself was decided anew with other specs.
    package var forget: @Sendable (Target) -> Void
    /// Keeps what has to outlive the process.
    package var remember: @Sendable (ControllerMemory) async -> Void
    /// Carries out a plan of one target, written down and with the target kept from others.
    package var apply:
        @Sendable (Plan, DesiredState, _ isInterrupted: @escaping @Sendable () -> Bool, @escaping @Sendable (ApplyEvent) -> Void) async ->
            ApplySummary
    /// What Plumb has changed on hosts.
    package var held: @Sendable () -> [HeldSetting]
    /// Told what happens; must not block.
    package var hear: @Sendable (ControllerNews) -> Void
    package var kinds: [RegisteredKind]

    package init(
        fetch: @escaping @Sendable (_ known: Revision?, _ expecting: String?) async -> Fetched,
        observe: @escaping @Sendable (Target, [DesiredResource]) async -> TargetObservation,
        observePart: @escaping @Sendable (Target, [DesiredResource]) async -> PartObservation,
        pauses: @escaping @Sendable () -> Result<[Pause], PausesUnknown> = { .success([]) },
        forget: @escaping @Sendable (Target) -> Void = { _ in },
        remember: @escaping @Sendable (ControllerMemory) async -> Void = { _ in },
        undoObstacle: @escaping @Sendable (Target) async -> String? = { _ in nil },
        follow: @escaping @Sendable (Target, [DesiredResource], @escaping @Sendable (TargetEvent) -> Void) async -> Void,
        apply:
            @escaping @Sendable (
                Plan, DesiredState, _ isInterrupted: @escaping @Sendable () -> Bool, @escaping @Sendable (ApplyEvent) -> Void
            ) async -> ApplySummary,
        held: @escaping @Sendable () -> [HeldSetting] = { [] },
        hear: @escaping @Sendable (ControllerNews) -> Void = { _ in },
        kinds: [RegisteredKind]
    ) {
        self.fetch = fetch
        self.observe = observe
        self.observePart = observePart
        self.pauses = pauses
        self.forget = forget
        self.remember = remember
        self.undoObstacle = undoObstacle
        self.follow = follow
        self.apply = apply
        self.held = held
        self.hear = hear
        self.kinds = kinds
    }
}
