/** What an engine gives to `strop.js`; `engine.js` of a bundle is one of them. */
export interface Engine {
  backend: string;
  engine: string;
  memoryBytes(): number | null;
  dispose(): void;
  run(inputs: unknown[]): Promise<unknown[]>;
}
export declare function open(facts: unknown, place: URL, options: unknown): Promise<Engine>;
