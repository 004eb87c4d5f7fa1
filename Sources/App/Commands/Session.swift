import Applying
import ArgumentParser
import Planning
import Reconciling
import Reporting
import ResourceModel

/// One run of `plan` or `apply`: the specs, the connections, and the pass over both.
struct Session {
    private let pass: Pass
    private let composition: Composition
    private let terminal: Terminal
    private let concurrency: Int

    /// Reads and checks the specs; nothing is contacted yet.
    ///
    /// - Parameters:
    ///   - confirmTimeout: How long a change that may cut the connection may take to be confirmed; nil: nothing is changed in this run.
    ///   - locks: How others are kept from changing the same targets.
    /// - Throws: exit status 1, after every mistake was printed.
    init(
        source: String,
        options: SharedOptions,
        confirmTimeout: Duration? = nil,
        locks: TargetLocks = TargetLocks(),
        terminal: Terminal
    ) throws {
        let desired = try Source.load(source, contextIsGiven: options.context != nil || Source.isInPod, terminal: terminal)
        let selection = options.selection
        let unmatched = selection.unmatched(in: desired)
        if !unmatched.isEmpty {
            let targets = desired.targets.map(\.name)
            for glob in unmatched {
                let name = String(glob.pattern.prefix { $0 != "/" })
                let nearest = Diagnostic.nearest(to: name, among: targets).map { "Did you mean '\($0)'? " } ?? ""
                terminal.writeError("\(terminal.errors.errorWord): --target '\(Escaping.shown(glob.pattern))' means no target of the specs\n")
                terminal.writeError("    \(nearest)There are: \(Escaping.shown(targets.joined(separator: ", "))).\n")
            }
            throw ExitCode(1)
        }
        pass = Pass(desired: desired, kinds: Source.kinds, source: source, selection: selection, concurrency: options.concurrency)
        composition = Composition(options: options, confirmTimeout: confirmTimeout, locks: locks) {
            terminal.writeError("\(Escaping.shown($0))\n")
        }
        concurrency = options.concurrency
        self.terminal = terminal
    }

    /// Asks all targets that are meant and plans, with a line of progress on stderr.
    func plan() async -> Plan {
        var progress = ProgressLine(targets: pass.observedPart.resourcesByTarget().map { $0.0.name }, terminal: terminal)
        let plan = await pass.plan(
            observer: { target, resources in await composition.observe(target, resources) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return plan
    }

    func apply(
        _ plan: Plan,
        record: ApplyRecord,
        wait: Duration?,
        isInterrupted: @escaping @Sendable () -> Bool,
        report: @escaping @Sendable (ApplyEvent) -> Void
    ) async -> ApplySummary {
        var collaborators = composition.applyCollaborators
        let mayStart = collaborators.willStart
        collaborators.willStart = { action in
            if let objection = await mayStart(action) { return objection }
            return await record.willStart(action)
        }
        collaborators.didEnd = { await record.didEnd($0, $1) }
        return await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: concurrency, wait: wait, isInterrupted: isInterrupted),
            report: report
        )
    }

    func close() async { await composition.close() }
}
