import Applying
import ArgumentParser

/// How carefully `apply` goes about it.
struct BudgetOptions: ParsableArguments {
    @Option(
        name: .customLong("max-unavailable"),
        help: ArgumentHelp("Hosts that are changed at the same time; clusters do not count (default: as --concurrency).", valueName: "n")
    )
    var maxUnavailable: Int?

    @Option(
        help: ArgumentHelp(
            "The first n hosts (by name) that have changes go first, with what they depend on; the rest only if all of that is live as declared "
                + "(default: no canary).",
            valueName: "n"
        )
    )
    var canary: Int?

    @Option(
        name: .customLong("max-failures"),
        help: ArgumentHelp("After more than n failed changes nothing new starts (default: whatever can be done is done).", valueName: "n")
    )
    var maxFailures: Int?

    func validate() throws {
        if let maxUnavailable, maxUnavailable < 1 { throw ValidationError("--max-unavailable must be at least 1, not \(maxUnavailable).") }
        if let canary, canary < 1 { throw ValidationError("--canary must be at least 1, not \(canary).") }
        if let maxFailures, maxFailures < 0 { throw ValidationError("--max-failures must be at least 0, not \(maxFailures).") }
    }

    var budget: ApplyBudget { ApplyBudget(maxUnavailable: maxUnavailable, canary: canary, maxFailures: maxFailures) }
}
