import Commands

@main
struct Plumb {
    static func main() async { await PlumbCommand.start() }
}
