import ArgumentParser
import Git

/// What reads a repository for another process of Plumb: see `GitRepository`. Not for people.
struct ReadRepositoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read-repository",
        abstract: "Read a repository for another process of Plumb.",
        shouldDisplay: false
    )

    func run() async throws { await RepositoryReader.serve { Terminal.askSecret($0) } }
}
