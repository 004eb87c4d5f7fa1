import Applying
import ArgumentParser

/// How carefully `apply` goes about it.
struct BudgetOptions: ParsableArguments {
    @Option(
        name: .customLong("max-unavailable"),
        help: ArgumentHelp(
            "Hosts that are changed at the same time, as a number or as a part of all hosts in the specs: 3, 25%; clusters do not count "
                + "(default: as --concurrency).",
            valueName: "n"
        ),
        transform: HostShare.init(argument:)
    )
    var maxUnavailable: HostShare?

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
        help: ArgumentHelp(
            "After more than n changes that failed or were rolled back nothing new starts (default: whatever can be done is done).",
            valueName: "n"
        )
    )
    var maxFailures: Int?

    func validate() throws {
        if let canary, canary < 1 { throw ValidationError("--canary must be at least 1, not \(canary).") }
        if let maxFailures, maxFailures < 0 { throw ValidationError("--max-failures must be at least 0, not \(maxFailures).") }
    }

    /// - Parameter hosts: how many there are.
    func budget(hosts: Int) -> ApplyBudget {
        ApplyBudget(maxUnavailable: maxUnavailable?.count(of: hosts), canary: canary, maxFailures: maxFailures)
    }
}

/// A number of hosts, or so many of a hundred.
enum HostShare: Equatable {
    case count(Int)
    case percent(Int)

    init(argument: String) throws {
        let isPercent = argument.hasSuffix("%")
        guard let number = Int(isPercent ? argument.dropLast() : argument[...]), number >= 1, !isPercent || number <= 100 else {
            throw ValidationError("it must be a number from 1 on, or from 1% to 100%.")
        }
        self = isPercent ? .percent(number) : .count(number)
    }

    /// Rounded down, and never nothing: a share too small for one host would keep everything from being changed.
    func count(of hosts: Int) -> Int {
        switch self {
        case .count(let count): count
        case .percent(let percent): max(1, hosts * percent / 100)
        }
    }
}
